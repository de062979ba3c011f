"""The command line: each verb parses its options, calls one function of another room, and prints.

Read `main` first: the verbs and how errors are told. `train` has finetune and distill, `search`
has search and tune, `deploy` has export, bench, report and predict, `serve` is alone; `options`
are shared. `quickstart` is the main job on built-in data; `show` prints an answer. Nothing heavy
is imported before a verb is called.
"""
