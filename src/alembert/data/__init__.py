"""Turns files, hub data sets and GLUE folders into tasks and batches, without any model.

Read in the order that a row passes through: `sources` finds the file, `formats` reads it,
`unpacking` bounds one that is packed, `labels` finds its columns and checks its labels, `tasks`
infers the task, holds rows out and encodes them, `encoded` holds them, and `splits` joins training,
validation and evaluation files. `collate` draws the order of an epoch's batches, pads rows and
masks tokens; `batches` gives the batch of a step as a function of (seed, step). `corpus` is the
inner part for plain text of any size. `intents` holds the data of the quickstart.

For other rooms: sources, formats, labels, tasks, encoded, splits, collate, batches, corpus.
"""
