"""Measurements of Alembert, a room each of quality, speed, cpu, serving and robustness, on lab.

They run from the root of the repository: `python -m benchmarks.ROOM.FILE --help`.
"""
