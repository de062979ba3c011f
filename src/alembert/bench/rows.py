"""The rows of a benchmark: medians of times, and ratios with their intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000  # bootstrap samples
# the relative difference of two processes that run the same model, which depends on their memory
# layout: copies of a model, measured side by side, were up to 3 % apart
SPREAD = 0.02


@dataclass(frozen=True, kw_only=True)
class Round:
    """One worker's measurement: the seconds of each pass (P,), a pass being one batch.

    tokenize is the part of `wall` spent on tokenisation, and empty without texts.
    """

    wall: list[float]
    cpu: list[float]  # of the whole process, all its threads
    tokenize: list[float]
    texts: int
    tokens: int
    peak_rss_mb: float | None = None


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """The speed relative to `to` (MODEL:BACKEND, same threads), with its interval.

    of is "cpu" (process CPU time) at one thread and "wall" at more. same is true if the interval
    contains 1, so that no difference was shown.
    """

    to: str
    of: str
    value: float
    low: float
    high: float
    same: bool


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model in one backend at a number of threads. Latency and CPU time are for one batch.

    length is the tokens of a text, the median for real texts; throughput is texts a second;
    tokenize_ms is part of the latency, and None without real texts.
    """

    model: str
    backend: str
    threads: int
    batch: int
    length: int
    latency_ms: dict[str, float]  # median, min
    cpu_ms: dict[str, float]
    tokenize_ms: dict[str, float] | None
    throughput: float
    tokens_per_second: float
    size_mb: float
    parameters: int
    peak_rss_mb: float | None
    rounds: int
    ratios: tuple[Ratio, ...]

    def content(self) -> dict[str, Any]:
        """The row as it stands in bench.json."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model in a backend, with its size and number of parameters."""

    model: str
    backend: str
    threads: int
    size_mb: float
    parameters: int


def row_of(content: Mapping[str, Any]) -> Row:
    """The row that stands in bench.json as this. Raises TypeError for other fields."""
    return Row(**{**content, "ratios": tuple(Ratio(**each) for each in content["ratios"])})


def row(
    subject: Subject, batch: int, rounds: Sequence[Round], others: Sequence[tuple[str, Any]]
) -> Row:
    """The row of a subject; others are (name, rounds) of the rows it is compared with."""
    seconds = [sum(one.wall) for one in rounds]
    texts, tokens = [one.texts for one in rounds], [one.tokens for one in rounds]
    tokenize = [one.tokenize for one in rounds if one.tokenize]
    peaks = [one.peak_rss_mb for one in rounds if one.peak_rss_mb is not None]
    clock = "cpu" if subject.threads == 1 else "wall"
    own = per_round(rounds, clock)
    return Row(
        **vars(subject), batch=batch,
        length=int(np.median(np.divide(tokens, texts))),
        latency_ms=_ms([one.wall for one in rounds]), cpu_ms=_ms([one.cpu for one in rounds]),
        tokenize_ms=_ms(tokenize) if tokenize else None,
        throughput=float(np.median(np.divide(texts, seconds))),
        tokens_per_second=float(np.median(np.divide(tokens, seconds))),
        peak_rss_mb=max(peaks) if peaks else None, rounds=len(rounds),
        ratios=tuple(ratio(name, clock, own, per_round(times, clock)) for name, times in others),
    )  # fmt: skip


def per_round(rounds: Sequence[Round], of: str) -> NDArray[np.float64]:
    """Seconds a pass, (R,), the mean over each round's passes; of is "cpu" or "wall"."""
    return np.array([np.mean(one.cpu if of == "cpu" else one.wall) for one in rounds])


def ratio(
    to: str, of: str, own: NDArray[np.float64], other: NDArray[np.float64], seed: int = 0
) -> Ratio:
    """The median over rounds of other / own, whose times (R,) are of the same rounds.

    Its interval is a 95 % bootstrap over rounds, since drift affects both sides of a round alike,
    widened by SPREAD.
    """
    paired = other / own
    samples = np.random.default_rng(seed).integers(0, len(paired), (DRAWS, len(paired)))
    low, high = np.quantile(np.median(paired[samples], axis=1), [0.025, 0.975])
    low, high = float(low) / (1 + SPREAD), float(high) * (1 + SPREAD)
    return Ratio(
        to=to, of=of, value=float(np.median(paired)), low=low, high=high, same=low <= 1 <= high
    )


def _ms(seconds: Sequence[Sequence[float]]) -> dict[str, float]:
    every = 1000 * np.concatenate(seconds)
    return {"median": float(np.median(every)), "min": float(every.min())}


def weights_mb(folder: str | Path) -> float:
    """Megabytes of a saved model's weights."""
    return sum(file.stat().st_size for file in Path(folder).glob("*.safetensors")) / 1e6


def pareto(points: Sequence[tuple[float, float]]) -> set[int]:
    """Indices of (cost, value) points on the Pareto front: no other point is better in one of the
    two and at least as good in the other."""
    return {
        i
        for i, (cost, value) in enumerate(points)
        if not any(c <= cost and v >= value and (c, v) != (cost, value) for c, v in points)
    }
