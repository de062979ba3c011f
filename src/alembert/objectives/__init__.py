"""Losses and terms: pure functions of tensors, and frozen values that say what they read.

Read `functional` first: every loss as a function, student first, teacher second, mask third. A
`term` pairs a loss with the parts of a trace it reads, and a user's own is one too; `label_terms`
compare logits, `layer_terms` compare layers, and `objective` is the weighted sum that a stage
trains. `own` calls a user's term and tells its
mistakes. `fused_linear`, `top_k` and `attention_kl` compute the large ones in chunks; `recorded`
turns a teacher's trace into rows that can be cached, and back. No file is touched here. A new loss
goes into `functional`, its term beside its kin.

For other rooms: term, label_terms, layer_terms, objective, recorded.
"""
