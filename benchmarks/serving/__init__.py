"""`alembert serve` under load: `load` beside other `servers`, `overload` at several times the
capacity, `hostile` bodies, replicas that are `killed`.
"""
