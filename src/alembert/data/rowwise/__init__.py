"""Rows of a file read and written a thousand at a time, for files larger than memory.

Read `reading` first: the rows of a file in blocks, each with its texts as a model takes them.
`answering` makes columns of a model's answers, and `writing` writes blocks of both as CSV, JSONL or
Parquet.

For other rooms: reading, answering, writing.
"""
