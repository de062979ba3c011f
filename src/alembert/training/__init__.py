"""One stage of training, from its first step to its last, resumable with the same weights.

Read `loop` first: the optimizer and the steps. `distillation` is student, teacher and projections
as one module whose forward is the loss; `monitor` has a stage's length and learning rate, decides
by validations when it stops (early stopping) and which student is kept, and writes its log;
`checkpoint` saves and resumes. `callbacks` tells a user's own code how the stage goes, and
`trackers` other tools: TensorBoard, MLflow, Weights & Biases, Trackio. `teacher` is the model to
imitate, loaded once; `logit_cache` and `trace_cache` (on `trace_file`) store its logits and traces.
`sparse_embedding` trains only the word embeddings that occur; `distributed` is for several
processes (DDP, FSDP): the rows of a batch that each takes, and who works first.

For other rooms: loop, callbacks, trackers, distillation, monitor, checkpoint, teacher, logit_cache,
trace_cache, sparse_embedding, distributed.
"""
