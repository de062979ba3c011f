"""One run folder: its stages in order, what is chosen on held-out texts, evaluation, its record.

Read `job` (the run as a value), then `run` (the order of its steps). `checks` refuses impossible
runs before the first stage; the inner part `texts` has the texts as student and teacher tokenise
them, and the inner part `stages` makes, tries, trains and validates a stage; `evaluate` measures
the result, beside the cheap models of `baselines` and the same student of `undistilled`, trained
without its teacher. The inner part `folder` compares, writes and repairs a run folder, and
`record` reads one. `trim` makes a saved model's vocabulary smaller. `preview` counts a run's rows
and measures a few of its steps before it is started.

For other rooms: job, run, stages, texts, evaluate, baselines, record, trim, folder,
preview.
"""
