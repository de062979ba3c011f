"""Errors, files, caches, the hub, seeds and the types of answers, which every room may import.

Read `errors` first: a user's mistake is one `UserError`, a line that names the file, row, column
or option and how to fix it. `parsing` reads JSON and YAML of others, `files` writes files
atomically, `locks` locks a folder for one process, and a cache consists of `parts`, whose
`tensors` have a checksum. `answers` has the types of a model's answers in every room
(`Classification`, `Tags` ...). `environment` has versions and the processor. `seeds` turns the
seed of a run into a seed for each draw. `hub` knows whether a name may be asked of the Hugging
Face hub.

For other rooms: errors, files, parsing, locks, parts, tensors, environment, answers, seeds, hub.
"""
