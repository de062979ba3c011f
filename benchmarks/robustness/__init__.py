"""What may go wrong and loses nothing: `faults` in runs, `fuzz` of files and settings, the `memory`
that small files take, `attacks` on a server and `wire`, a fuzzer of its bytes, training on
`several` processes and two `hosts`, a `corpus` larger than memory should have to hold.
"""
