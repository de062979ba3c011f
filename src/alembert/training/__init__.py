"""One stage of training, from its first step to its last, resumable with the same weights.

Read `loop` first. `distillation` is student, teacher and projections as one module whose forward
is the loss; `monitor` has a stage's length, schedule, validation (early stopping) and log;
`checkpoint` saves and resumes. `logit_cache` and `trace_cache` (on `trace_file`) store a teacher's
logits and traces. `sparse_embedding` trains only the word embeddings that occur; `distributed` is
for several processes (DDP, FSDP).

For other rooms: loop, distillation, monitor, checkpoint, logit_cache, trace_cache,
sparse_embedding, distributed.
"""
