"""One stage of training, from its first step to its last, resumable with the same weights.

Read `loop` first. `distillation` is student, teacher and projections as one module whose forward
is the loss; `monitor` has a stage's length and schedule, its looks at held-out texts (early
stopping) and its log; `checkpoint` saves and resumes. `logit_cache` and `trace_cache` (on
`trace_file`) keep what a teacher answers. `sparse_embedding` trains only the word embeddings that
are read; `distributed` and `sharded` are for several processes.

For other rooms: loop, distillation, monitor, checkpoint, logit_cache, trace_cache,
sparse_embedding, distributed.
"""
