"""Errors, files, the hub, seeds and the types of answers: the parts that every room may import.

Read `errors` first: a user's mistake is one `UserError`, a line that names the file, row, column
or option and how to fix it. `files` writes files atomically and locks a folder for one process.
`answers` has the types of a model's answers in every room (`Classification`, `Tags` ...). `seeds`
turns the seed of a run into a seed for each draw. `hub` checks names of the Hugging Face hub and
whether it can be reached. The room imports no other room.

For other rooms: errors, files, answers, seeds, hub.
"""
