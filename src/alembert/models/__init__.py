"""The transformers models that Alembert loads, builds and reads: no data, no losses.

Read `architectures` first: a table of where each architecture keeps its parts. `loading` is the
one door for saved models, `building` draws new ones, `heads` names the kinds of heads, and
`checks` refuses a model that cannot do what is asked. `trace` runs one forward pass and keeps
what an objective reads; `logits` stand for logits over the vocabulary that are not made;
`layer_map` pairs student and teacher layers. `cpu_attention`, `precision`, `tokenizer_pruning`
and `ibbert` are apart.

For other rooms: architectures, loading, building, heads, checks, trace, logits, layer_map,
cpu_attention, precision, tokenizer_pruning.
"""
