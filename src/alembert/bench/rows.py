"""What was measured, as rows: times become medians, and ratios that know their noise."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000  # of the bootstrap
# what two processes of the same model may differ by, wherever their memory happens to lie: copies
# of a model, measured side by side, lay up to 3 % apart
APART = 0.02


@dataclass(frozen=True)
class Round:
    """One worker's answer: seconds of each pass (P,), a pass being one batch.

    tokenize: the part of `wall` that made ids of texts, empty where there were no texts.
    """

    wall: list[float]
    cpu: list[float]  # of the whole process, all its threads
    tokenize: list[float]
    texts: int
    tokens: int
    peak_rss_mb: float | None = None


@dataclass(frozen=True)
class Ratio:
    """How many times as fast as `to` (MODEL:BACKEND, same threads), with its interval.

    of: "cpu", process CPU time, at one thread; "wall" at more. same: the interval holds 1, so that
    no difference was shown.
    """

    to: str
    of: str
    value: float
    low: float
    high: float
    same: bool


@dataclass(frozen=True)
class Row:
    """One model in one backend at some threads. Latency and CPU time are of one batch.

    length: tokens of a text, of real texts the median; throughput: texts a second; tokenize_ms is
    part of the latency, and None where no real texts were read.
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
        """The row as bench.json has it."""
        return asdict(self)


@dataclass(frozen=True)
class Subject:
    """What is timed, and what is known of it without timing it."""

    model: str
    backend: str
    threads: int
    size_mb: float
    parameters: int


def row(
    subject: Subject, batch: int, rounds: Sequence[Round], others: Sequence[tuple[str, Any]]
) -> Row:
    """The row of a subject; others: (name, rounds) of what it is compared with, asked in turn."""
    spent = [sum(one.wall) for one in rounds]
    texts, tokens = [one.texts for one in rounds], [one.tokens for one in rounds]
    said = [one.tokenize for one in rounds if one.tokenize]
    peaks = [one.peak_rss_mb for one in rounds if one.peak_rss_mb is not None]
    of = "cpu" if subject.threads == 1 else "wall"
    student = per_round(rounds, of)
    return Row(
        subject.model, subject.backend, subject.threads, batch,
        length=int(np.median(np.divide(tokens, texts))),
        latency_ms=_ms([one.wall for one in rounds]), cpu_ms=_ms([one.cpu for one in rounds]),
        tokenize_ms=_ms(said) if said else None,
        throughput=float(np.median(np.divide(texts, spent))),
        tokens_per_second=float(np.median(np.divide(tokens, spent))),
        size_mb=subject.size_mb, parameters=subject.parameters,
        peak_rss_mb=max(peaks) if peaks else None, rounds=len(rounds),
        ratios=tuple(ratio(name, of, student, per_round(there, of)) for name, there in others),
    )  # fmt: skip


def per_round(rounds: Sequence[Round], of: str) -> NDArray[np.float64]:
    """Seconds a pass, (R,): the mean over a round's passes."""
    return np.array([np.mean(one.cpu if of == "cpu" else one.wall) for one in rounds])


def ratio(
    to: str, of: str, student: NDArray[np.float64], teacher: NDArray[np.float64], seed: int = 0
) -> Ratio:
    """Times (R,) of the same rounds -> the median of the rounds' ratios other / own.

    Its interval is the bootstrap's over rounds (95 %: what drifts hits both sides of a round
    alike), wider by what processes differ by.
    """
    paired = teacher / student
    drawn = np.random.default_rng(seed).integers(0, len(paired), (DRAWS, len(paired)))
    low, high = np.quantile(np.median(paired[drawn], axis=1), [0.025, 0.975])
    low, high = float(low) / (1 + APART), float(high) * (1 + APART)
    return Ratio(to, of, float(np.median(paired)), low, high, low <= 1 <= high)


def _ms(seconds: Sequence[Sequence[float]]) -> dict[str, float]:
    every = 1000 * np.concatenate(seconds)
    return {"median": float(np.median(every)), "min": float(every.min())}


def weights_mb(folder: str | Path) -> float:
    """Megabytes of a saved model's weights."""
    return sum(file.stat().st_size for file in Path(folder).glob("*.safetensors")) / 1e6


def pareto(points: Sequence[tuple[float, float]]) -> set[int]:
    """Indices of (cost, value) that no other point beats: none is as cheap and as good and better
    in one of the two."""
    return {
        i
        for i, (cost, value) in enumerate(points)
        if not any(c <= cost and v >= value and (c, v) != (cost, value) for c, v in points)
    }
