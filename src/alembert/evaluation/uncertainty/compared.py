"""Several models on the same labelled texts: metrics, differences to the first, and a gate."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np

from alembert.data.encoded import Encoded
from alembert.data.tasks import Task
from alembert.evaluation.metrics import Logits, metrics
from alembert.evaluation.uncertainty import kept, phrases
from alembert.evaluation.uncertainty.intervals import Interval, mcnemar
from alembert.evaluation.uncertainty.resampling import Rows
from alembert.evaluation.uncertainty.slices import Slices, slices_of
from alembert.io.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A model's logits on labelled rows as it reads them; `columns` has values to slice by."""

    task: Task
    logits: Logits
    data: Encoded
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, float]:
        """All metrics, the task's first."""
        return metrics(self.task, self.logits, self.data)


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One model of a comparison.

    interval: that of its metric. difference: its metric less that of the first model, None of the
    first itself. p: McNemar's exact p of the two models, where texts have one label each.
    """

    name: str
    metrics: dict[str, float]
    interval: Interval | None
    difference: Interval | None = None
    p: float | None = None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Models on the same n texts; the first is the one that the others are compared with."""

    metric: str
    n: int
    models: tuple[Compared, ...]
    slices: Slices

    @property
    def table(self) -> list[tuple[str, ...]]:
        """The rows of the table, the head first."""
        head = ["model", self.metric, f"{self.metric}, less that of {self.models[0].name}"]
        tested = any(model.p is not None for model in self.models)
        rows = [(*head, "McNemar's p") if tested else tuple(head)]
        for model in self.models:
            bounds = model.interval.bounds if model.interval else None
            apart = phrases.difference(model.difference, self.n) if model.difference else "-"
            row = (model.name, phrases.value(model.metrics[self.metric], bounds, self.n), apart)
            p = "-" if model.p is None else f"{model.p:.2g}"
            rows.append((*row, p) if tested else row)
        return rows

    def __str__(self) -> str:
        """The table in columns, as the command line prints it."""
        return "\n".join([phrases.in_columns(self.table), *self.slice_lines])

    @property
    def slice_lines(self) -> list[str]:
        """A line for each slice with the metric of each model."""
        return [
            f"{column} {value} (n = {found['n']:,}{', small' * found['small']}): "
            + ", ".join(f"{model.name} {found[model.name]:.4f}" for model in self.models)
            for column, values in self.slices.items()
            for value, found in values.items()
        ]

    def _repr_html_(self) -> str:
        body = "".join(
            f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in self.table
        )
        lines = "".join(f"<li>{escape(line)}</li>" for line in self.slice_lines)
        return f"<table>{body}</table>" + (f"<ul>{lines}</ul>" if lines else "")

    @property
    def content(self) -> dict[str, Any]:
        """The comparison as JSON has it."""
        return {
            "metric": self.metric,
            "n": self.n,
            "models": [
                {
                    "model": model.name, "metrics": model.metrics,
                    "interval": model.interval and model.interval.bounds,
                    "difference": model.difference and {
                        "value": model.difference.value, "low": model.difference.low,
                        "high": model.difference.high,
                    },
                    "mcnemar_p": model.p,
                }
                for model in self.models
            ],
            "slices": self.slices,
        }  # fmt: skip

    def no_worse_by(self, margin: float) -> "Gate":
        """Return whether the first of two models is surely no worse than the second by a margin."""
        if len(self.models) != 2:
            raise UserError("--no-worse-by: compares two models, the new one and the old one")
        if not 0 <= margin < math.inf:
            raise UserError(f"--no-worse-by {margin:g}: must be 0 or more, and a finite number")
        new, old = self.models
        if (found := old.difference) is None:
            raise UserError(f"--no-worse-by: the difference of {self.metric} has no interval here")
        return Gate(
            metric=self.metric, new=new.name, old=old.name, margin=margin, n=self.n,
            difference=Interval(-found.value, -found.high, -found.low),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Whether a new model may take the place of an old one; difference: new - old."""

    metric: str
    new: str
    old: str
    margin: float
    n: int
    difference: Interval

    @property
    def passed(self) -> bool:
        """Whether the lower bound of the difference is at least -margin."""
        return self.difference.low >= -self.margin

    @property
    def texts_needed(self) -> int | None:
        """About how many texts would decide, if the difference stayed; None if no number would.

        The width of an interval shrinks with the root of the number of texts.
        """
        room = self.difference.value + self.margin
        if room <= 0:
            return None
        return math.ceil(self.n * ((self.difference.value - self.difference.low) / room) ** 2)

    def __str__(self) -> str:
        told = phrases.difference(self.difference, self.n)
        line = f"{self.metric} of {self.new} less that of {self.old}: {told}"
        if self.passed:
            return f"passed: no worse by {self.margin:g}; {line}"
        if self.difference.high < -self.margin:
            return f"failed: worse by more than {self.margin:g}; {line}"
        end = "at this difference no number of texts would show it"
        if self.texts_needed is not None:
            end = f"about {self.texts_needed:,} texts would be needed"
        return f"failed: undecided whether it is no worse by {self.margin:g}, {end}; {line}"


def compare(judged: Mapping[str, Judged]) -> Comparison:
    """Return the comparison of models on the same rows. Raises UserError for different tasks."""
    first, *others = judged
    task = judged[first].task
    for name in others:
        if judged[name].task.kind != task.kind or judged[name].task.metric != task.metric:
            raise UserError(
                f"{name}: is for {judged[name].task.kind} and {first} for {task.kind}: compare "
                "models of one task"
            )
    rows = {name: Rows.of(each.task, each.logits, each.data) for name, each in judged.items()}
    drawn, n = kept.drawn_of(rows, task.metric, np.unique(rows[first].labelled.texts))
    right = {}
    if task.kind == "classification":
        labelled = {name: each.labelled for name, each in rows.items()}
        right = {name: each.logits.argmax(1) == each.labels for name, each in labelled.items()}
    models = [
        Compared(
            name=name,
            metrics=judged[name].metrics,
            interval=kept.interval_of(each, task.metric, n),
            difference=(each - drawn[first]).interval if name != first else None,
            p=mcnemar(right[first], right[name]) if right and name != first else None,
        )
        for name, each in drawn.items()
    ]
    found = slices_of(rows, judged[first].columns)
    return Comparison(metric=task.metric, n=n, models=tuple(models), slices=found)
