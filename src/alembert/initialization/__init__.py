"""How a student starts: from scratch, from its teacher's layers, or fitted to them.

Read `student` first: it copies layers, or calls the others. `embeddings` takes over what a
model's embeddings add up; `pca` narrows a teacher through its principal components (TinyBERT's
start); `bottleneck` and `bottleneck_layers` fit MobileBERT's layers by `least_squares`.

For other rooms: student, bottleneck, least_squares.
"""
