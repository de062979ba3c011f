"""Errors, files, caches, the hub, seeds and the types of answers, which every room may import.

Read `errors` first: a user's mistake is one `UserError`, a line that names the file, row, column
or option and how to fix it. `parsing` reads JSON and YAML of others, `files` writes files
atomically, `checksums` tells a damaged file of a finished folder, `locks` locks a folder for one
process, and `tensors` writes those of checkpoints and caches, with a checksum. `answers` has the
types of a model's answers in every room (`Prediction`, `Tags` ...). `environment` has versions, the
processor and memory. `seeds` turns the seed of a run into a seed for each draw. `hub` knows whether
a name may be asked of the Hugging Face hub, `named` finds a user's own class or function, and
`progress` has the bars of long work.

For other rooms: errors, parsing, files, checksums, locks, tensors, environment, answers, seeds,
hub, named, progress.
"""
