"""Two results.json of one experiment, by two versions of the package, side by side in a table.

python -m benchmarks.quality.before_after BEFORE AFTER
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from benchmarks.lab.results import Row, arguments, load
from benchmarks.lab.seeds import interval
from benchmarks.lab.tables import markdown

COLUMNS = {
    "task": "{task}", "model": "{recipe}", "metric": "{metric}", "before": "{value[0]}",
    "after": "{value[1]}", "difference": "{gain}", "steps before": "{steps[0]:,.0f}",
    "steps after": "{steps[1]:,.0f}", "CPU s before": "{cpu_s[0]:,.0f}",
    "CPU s after": "{cpu_s[1]:,.0f}", "seeds": "{seeds}",
}  # fmt: skip


def compared(before: Sequence[Row], after: Sequence[Row]) -> list[Row]:
    """A row for each task and model, of the seeds that both have."""
    found = []
    for task, recipe in dict.fromkeys((row["task"], row["recipe"]) for row in before):
        sides = [
            {row["seed"]: row for row in rows if (row["task"], row["recipe"]) == (task, recipe)}
            for rows in (before, after)
        ]
        seeds = sorted(set(sides[0]) & set(sides[1]))
        if not seeds:
            continue
        values = [[side[seed]["value"] for seed in seeds] for side in sides]
        found.append({
            "task": task, "recipe": recipe, "metric": sides[0][seeds[0]]["metric"],
            "value": [interval(side) for side in values],
            "gain": interval([b - a for a, b in zip(*values, strict=True)]),
            "steps": [mean(sum(side[seed]["steps"]) for seed in seeds) for side in sides],
            "cpu_s": [mean(side[seed]["cpu_s"] for seed in seeds) for side in sides],
            "seeds": len(seeds),
        })  # fmt: skip
    return found


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    given = parser.parse_args()
    print(markdown(compared(load(given.before), load(given.after)), COLUMNS))


if __name__ == "__main__":
    main()
