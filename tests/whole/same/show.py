"""Prints differences: those of the same file together, the first lines of the first one."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from .compare import Difference, Meant

GROUPS, LINES, WIDTH = 40, 6, 150


def shown(found: Sequence[Difference], wanted: Sequence[Meant], probes: int) -> Iterator[str]:
    """The lines that are printed; nothing of `found` is left out of the counts."""
    for file, group in list(_groups(found).items())[:GROUPS]:
        names = list(dict.fromkeys(each.probe for each in group))
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        some = "; ".join(name.partition(": ")[2][:70] for name in names[:3])
        yield f"\n{file} differs in {_count(names, 'probe')}: {some}{more}"
        lines = group[0].lines
        yield from (f"    {line}" for line in _clipped(lines[:LINES]))
        if len(lines) > LINES:
            yield f"    ... {len(lines) - LINES} lines more"
    if (left := len(_groups(found)) - GROUPS) > 0:
        yield f"\n... and {left} files more"
    for each in wanted:
        if not each.passed:
            yield f"\nlisted in meant.yaml and nowhere found: {each.probe}, {each.file}: {each.reason}"
    let = sum(each.passed for each in wanted)
    differ = len({each.probe for each in found})
    yield (
        f"\n{differ} of {_count(range(probes), 'probe')} differ, in {_count(found, 'file')}; "
        f"{let} changed lines are meant"
    )


def _groups(found: Sequence[Difference]) -> dict[str, list[Difference]]:
    """By the kind of probe and the file."""
    groups: dict[str, list[Difference]] = defaultdict(list)
    for each in found:
        groups[f"{each.probe.partition(':')[0]}: {each.file}"].append(each)
    return groups


def _count(things: Sequence[object], noun: str) -> str:
    return f"{len(things):,} {noun}{'' if len(things) == 1 else 's'}"


def _clipped(lines: Sequence[str]) -> Iterator[str]:
    """Long lines from a little before where they part from the line they are shown beside."""
    for number, line in enumerate(lines):
        other = lines[number ^ 1] if number ^ 1 < len(lines) else line
        same = next((i for i, (x, y) in enumerate(zip(line[2:], other[2:])) if x != y), 0)
        start = max(same - 60, 0) if len(line) > WIDTH else 0
        text = line[2 + start :]
        yield f"{line[:2]}{'...' * bool(start)}{text[:WIDTH]}{'...' * (len(text) > WIDTH)}"
