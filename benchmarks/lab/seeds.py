"""What several seeds say together."""

import math
from collections.abc import Sequence
from statistics import mean, stdev

from scipy.stats import t as student_t


def deviation(values: Sequence[float], digits: int = 3) -> str:
    """Mean, and standard deviation where there is more than one."""
    text = f"{mean(values):.{digits}f}"
    return text + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")


def interval(values: Sequence[float], digits: int = 4) -> str:
    """Mean and the half width of its 95 % interval (Student's t over the seeds)."""
    text = f"{mean(values):.{digits}f}"
    if len(values) < 2:
        return text
    quantile = float(student_t.ppf(0.975, len(values) - 1))
    return f"{text} ± {quantile * stdev(values) / math.sqrt(len(values)):.{digits}f}"
