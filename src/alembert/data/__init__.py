"""Turns files, hub data sets and GLUE folders into tasks and batches, without any model.

Read in the order that a row passes through: `sources` has `Source`, the rows that a person gives,
and finds the file; `formats` reads it (with `files`, an inner part for the many ways in which files
are written), `tables` takes rows that are in memory; `labels` finds their columns and checks their
labels, `forms` rewrites labels of other forms (`several` those of several labels a text, `schemes`
the tags of spans), `tasks` infers the task, holds rows out and encodes them, `encoded` holds them,
and `splits` joins training, validation and evaluation files. `collate` draws the order of an
epoch's batches, pads rows and masks tokens; `batches` gives the batch of a step as a function of
(seed, step). `corpus` is the inner part for plain text of any size, `rowwise` that for rows which
are read, answered and written, `texts` that for texts as they are and for windows of
long ones, and `summary` says which task was read and counts its rows.
`intents` holds the data of the quickstart.

For other rooms: sources, formats, files, tables, labels, forms, tasks, encoded, splits, collate,
batches, corpus, rowwise, questions, texts, summary.
"""
