"""Computes the logits of models on encoded rows, and metrics and tables of predictions from them.

`predict` computes the logits of a task's rows, or scores masked tokens of a corpus; `metrics`
turns logits and labels into the metrics of a task, and `own_metric` calls a user's own function;
`predictions` reads and writes the table of the teacher's and the student's logits for each text.
`verdict` says in a sentence which of the measured models to take.

The inner part `spans` has the answers that are spans of a context, and their scores.
The inner part `baselines` has cheap models of scikit-learn to compare with.
The inner part `uncertainty` has the intervals of all that, and what a student keeps of its teacher.

For other rooms: predict, metrics, own_metric, predictions, verdict, spans, baselines,
uncertainty.
"""
