"""Turns plain text of any size into sequences of token ids for MLM.

Read `corpus` first: a prepared folder as a data set. `paragraphs` reads texts as streams,
`packing` fits them into sequences, and `preparing` does both in parallel, resumable. `segments`
reads them as two segments each, of which the second follows the first or does not.

For other rooms: corpus, paragraphs, preparing, segments.
"""
