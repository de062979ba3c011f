"""A run folder as one HTML page, report.html, and as a model card.

Read `page` first: it shows runs side by side (`comparison`: all models and variants with their
quality, speed and size, which `tables` shows), then each run (`sections`, `errors`,
`attention`), drawn by `plots` in the style of `svg`. `analysis` computes the numbers behind the
sections on one run; `closing` is what a command prints of a run; `rejudge` repeats predictions that
a run has not saved; `model_card` writes README.md beside the model. The page opens from disk and
loads nothing from the network.

For other rooms: page, model_card, comparison, tables, closing.
"""
