"""One stage of a run: its models and rows, its objective, its training, and its saved model.

Read `run_stage` first, which has the order of the steps. `prepare` makes a stage's models and rows,
with soft labels of `linear_teacher` where no teacher is there yet; `choice` tries a stage's
alternatives; `training` trains one objective, whose student `validation` measures on held-out
texts, and whose length it describes.
"""
