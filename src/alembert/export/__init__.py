"""A saved model becomes files that run on CPU without torch, each checked against torch.

Read `export` first: it names the variants and makes them in order. `folding` simplifies the model,
`onnx` writes its graph, `quantize` makes it int8, and `fidelity` compares their outputs with
torch's. `choose` takes the fastest variant that holds the metric, and finds the parts that have to
stay in fp32 where int8 does not hold it; `torch_session` runs a model that is not exported.
`layout` writes what other tools read beside an export. `deployed` is what a run ends with: the
exports of student and teacher, their logits and times. A new engine needs a row and a maker in
`export`, and a reader in `inference.engine`. `static` describes a static student, which runs as it
is saved.

For other rooms: export, choose, deployed, torch_session, fidelity, onnx, quantize, static.
"""
