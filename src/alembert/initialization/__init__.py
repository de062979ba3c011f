"""The initialization of a student: random, copied from its teacher's layers, or fitted to them.

Read `student` first: it copies layers, or calls the others. `embeddings` reads and writes the
embedding tables; `pca` projects a teacher onto its principal components (for students of smaller
hidden size); `bottleneck` and `bottleneck_layers` fit MobileBERT's layers by `least_squares`.
`static` starts a student without layers from its teacher's vectors of single tokens, which
`text_vectors` fits to those of whole texts.

For other rooms: student, bottleneck, least_squares, static, text_vectors.
"""
