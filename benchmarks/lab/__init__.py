"""What every measurement shares: its results, its tables, its processes, its seeds.

Read `results` first (a JSON file, merged and without this machine's paths), then `tables`
(Markdown), `seeds` (mean and spread) and `workers` (time, CPU time and peak memory of a process).
`data` makes files of public data sets; `tiny` has the models and files of the tests.
"""
