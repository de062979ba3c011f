"""Prints differences: those of the same file together, the first lines of each kind of them."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from .compare import Difference, Meant

GROUPS, KINDS, LINES, WIDTH = 40, 5, 4, 150


def shown(
    found: Sequence[Difference], wanted: Sequence[Meant], probes: int, whole: bool
) -> Iterator[str]:
    """The lines that are printed; whole: all probes ran, so that a row not needed is too much."""
    groups = _groups(found)
    for file, group in list(groups.items())[:GROUPS]:
        names = [each.probe.partition(": ")[2][:70] for each in group]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        yield f"\n{file} differs in {_count(names, 'probe')}: {'; '.join(names[:3])}{more}"
        kinds = list(dict.fromkeys(each.lines[:LINES] for each in group))
        for lines in kinds[:KINDS]:
            yield from (f"    {line}" for line in _clipped(lines))
        lines_left = sum(len(each.lines) for each in group) - sum(map(len, kinds[:KINDS]))
        if lines_left:
            yield f"    ... {lines_left:,} lines more"
    if len(groups) > GROUPS:
        yield f"\n... and {len(groups) - GROUPS} files more"
    for each in wanted if whole else ():
        if not each.passed:
            place = f"{each.probe}, {each.file}"
            yield f"\nlisted in meant.yaml and nowhere found: {place}: {each.reason}"
    passed = sum(each.passed for each in wanted)
    differ = len({each.probe for each in found})
    yield (
        f"\n{differ} of {_count(range(probes), 'probe')} differ, in {_count(found, 'file')}; "
        f"{passed} changed lines are meant"
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
        both = zip(line[2:], other[2:], strict=False)
        same = next((i for i, (x, y) in enumerate(both) if x != y), 0)
        start = max(same - 60, 0) if len(line) > WIDTH else 0
        text = line[2 + start :]
        yield f"{line[:2]}{'...' * bool(start)}{text[:WIDTH]}{'...' * (len(text) > WIDTH)}"
