"""A saved model becomes files that run on CPU without torch, each checked against torch.

Read `export` first: it makes the variants in order. `folding` simplifies the model, `onnx` writes
its graph, `quantize` makes it int8, `files` names the variants, and `fidelity` compares their
outputs with torch's. `choose` takes the fastest variant that holds the metric; `torch_session`
runs a model that is not exported. A new engine needs a row in `files`, a maker here and a reader
in `inference.engine`.

For other rooms: export, choose, torch_session, files, fidelity, onnx, quantize.
"""
