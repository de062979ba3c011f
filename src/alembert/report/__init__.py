"""A run folder as one page to look at, report.html, and as a model card.

Read `page` first: runs side by side (`comparison`), then each run (`sections`, `errors`,
`attention`), drawn by `plots` in the style of `svg`. `analysis` finds what is worth looking at;
`rejudge` makes predictions again where a run kept none; `model_card` writes README.md beside the
model. The page opens from disk and asks the network for nothing.

For other rooms: page, model_card.
"""
