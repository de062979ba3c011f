"""The command line: each verb parses its options, calls one function of `api`, and prints.

Read `main` first: the verbs, and how errors are printed; `faults` prints those of Alembert itself,
and `news` what a verb tells beside its result. `train` has quickstart, check, finetune and distill,
`search` has search and tune, `deploy` has export, bench, report, predict and clean, `comparing` has
compare, `serve` has serve, whose log is `lines`; `options` are shared, and `help` shows them in
groups. `show` formats a prediction. Nothing heavy is imported before a verb is called.
"""
