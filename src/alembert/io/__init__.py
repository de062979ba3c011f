"""What every room needs of the world outside: errors, files, the hub, seeds, and the types of
answers.

Read `errors` first: a user's mistake is one `UserError`, a line that names the file, row, column
or option and how to fix it. `files` writes whole files or none, and holds a folder for one
process. `answers` has the types that a model's answers have in every room (`Classification`,
`Tags` ...). `seeds` turns the seed of a run into a seed for each draw. `hub` knows whether a name
may be asked of the Hugging Face hub. The room imports no other room.

For other rooms: errors, files, answers, seeds, hub.
"""
