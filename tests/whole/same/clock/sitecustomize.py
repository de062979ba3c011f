"""Clocks that measure nothing: each look at one is 1/512 of a second after the thread's last look.

What the package chooses by times (the fastest variant, the shapes of a search) is then the same on
every machine and in every run. Python imports this at its start, in child processes too.
"""

import os
import threading
import time

_looks = threading.local()


def _nanoseconds() -> int:
    _looks.count = getattr(_looks, "count", 0) + 1
    return int(_looks.count * 1_953_125)


def _seconds() -> float:
    return _nanoseconds() / 1e9  # exact, so that a difference does not depend on when it begins


for _name in ("perf_counter", "process_time", "thread_time"):
    setattr(time, _name, _seconds)
    setattr(time, f"{_name}_ns", _nanoseconds)
os.getloadavg = lambda: (0.0, 0.0, 0.0)
