"""The command line: each verb parses its options, calls one function of `api`, and prints.

Read `main` first: the verbs, and how errors are printed; `faults` prints those of Alembert itself.
`train` has finetune and distill, `search` has search and tune, `deploy` has export, bench, report,
predict and clean, `comparing` has compare, `serve` has serve; `options` are shared, and `help`
shows them in groups. `quickstart` prints a comparison on built-in data; `show` formats a
prediction. Nothing heavy is imported before a verb is called.
"""
