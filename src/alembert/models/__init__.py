"""The transformers models that Alembert loads, builds and reads: no data, no losses.

Read `architectures` first: a table of where each architecture keeps its parts. `loading` is the
only loader of saved models, `building` draws new ones, `heads` names the kinds of heads and of
pooling, and `checks` refuses a model that a stage cannot use. `trace` runs one forward pass and
keeps the tensors an objective reads; `logits` stand for vocabulary logits that are not computed
yet; `layer_map` pairs student and teacher layers. `cpu_attention`, `precision`, `tokenizer_pruning`
and `ibbert` stand alone. `static` is an inner part: students without layers.

For other rooms: architectures, loading, building, heads, checks, trace, logits, layer_map,
cpu_attention, precision, tokenizer_pruning, static.
"""
