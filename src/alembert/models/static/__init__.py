"""Static students: a vector for each wordpiece, a weighted mean, a small head, and no layers.

Read `config` first: the shape, and how pairs and neighbours reach the head. `model` is the torch
model of it, registered with transformers' Auto classes, and `packing` its file: embeddings in int8
with a scale a row.
"""
