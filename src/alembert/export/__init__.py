"""A saved model becomes files that answer on CPU without torch, each checked against torch.

Read `export` first: it makes the variants in order. `folding` makes the graph smaller, `onnx`
writes it, `quantize` makes it int8, `files` names the variants, and `fidelity` compares their
answers with torch's. `choose` keeps the fastest variant that holds the metric; `torch_session`
answers with torch where nothing was exported. A new engine needs a row in `files`, a maker here
and a reader in `inference.engine`.

For other rooms: export, choose, torch_session, files, fidelity, onnx, quantize.
"""
