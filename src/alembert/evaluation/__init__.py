"""Computes the logits of models on encoded rows, and metrics and tables of predictions from them.

`predict` computes the logits of a task's rows, or scores masked tokens of a corpus; `metrics`
turns logits and labels into the metrics of a task, and `own_metric` calls a user's own function;
`predictions` reads and writes the table of the teacher's and the student's logits for each text.
`verdict` says in a sentence which of the measured models to take.

For other rooms: predict, metrics, own_metric, predictions, verdict.
"""
