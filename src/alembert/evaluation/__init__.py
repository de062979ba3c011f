"""Computes the logits of models on encoded rows, and metrics and tables of predictions from them.

`predict` computes the logits of a task's rows, or scores masked tokens of a corpus; `metrics`
turns logits and labels into the metrics of a task, and `own_metric` calls a user's own function;
`predictions` reads and writes the table of the teacher's and the student's logits for each text.
`verdict` says in a sentence which of the measured models to take.

The inner part `baselines` has cheap models of scikit-learn to compare with.

How sure a metric is: `resampling` has each metric as a function of how often every text is drawn,
`intervals` draws the texts and has the tests, `kept` measures how much of its teacher a student
keeps, with the rule of the headline, and `phrases` puts that into words.

For other rooms: predict, metrics, own_metric, predictions, resampling, intervals, kept,
phrases, verdict, baselines.
"""
