"""Models and encoded rows become logits, and logits become metrics and kept predictions.

`predict` asks a model for the logits of a task's rows, or for masked words of a corpus; `metrics`
turns logits and labels into the metrics of a task; `predictions` is the table of what teacher and
student said of each text, as a run folder keeps it.

For other rooms: predict, metrics, predictions.
"""
