"""Plain text of any size becomes sequences of token ids for masked-word prediction.

Read `corpus` first: a prepared folder as a mapped data set. `paragraphs` reads texts as streams,
`packing` fits them into sequences, and `preparing` does both in parallel, resumable.

For other rooms: corpus, paragraphs, preparing.
"""
