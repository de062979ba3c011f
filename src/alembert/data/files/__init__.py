"""Reads the ways in which people write tables, JSON documents, tagged sentences and spreadsheets.

Read `skipped` first: what happens to a row that cannot be read, or that nobody has judged.
`unpacking` bounds what a file may become in memory, `disguised` refuses one whose content is not
what its suffix says, and `columnar` reads Parquet and Arrow within the bounds. `encodings` tells
how a text file is encoded, `delimited` finds the separator of a table and the rows and columns that
hold nothing, `documents` turns JSON lines and the shapes of a JSON document into rows, `conll`
finds words and tags in columns, `plain` reads lines of text and those of fastText, `folders` reads
a folder of texts for each class, `sheets` reads .xlsx, and `numbers` finds scores in texts. Most
take lines or values that `formats` has read, and report how they read them.

For other rooms: skipped, columnar.
"""
