"""A share of the rows to learn from that is kept apart, for the evaluation alone."""

import logging
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from alembert.data.splits import Files
from alembert.data.tables import digest_of
from alembert.data.tasks import hold_out, infer_task
from alembert.io.errors import UserError
from alembert.io.files import atomic, cache

log = logging.getLogger(__name__)

PARTS = ("train", "eval")
SHOWN = 16  # characters of the digest of all rows, with which the folder of the parts begins


@contextmanager
def barless() -> Iterator[None]:
    """No progress bars of datasets meanwhile."""
    hidden = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not hidden:
            enable_progress_bars()


def share_of(given: object) -> float | None:
    """Return the share of train that `eval="20%"` asks for; None for another value.

    Raises UserError for a share of nothing, or of half and more.
    """
    found = re.fullmatch(r"([\d.]+)\s*%", given) if isinstance(given, str) else None
    if found is None or Path(str(given)).exists():
        return None
    try:
        share = float(found[1]) / 100
    except ValueError:
        share = math.nan
    if not 0 < share < 0.5:
        raise UserError(f"--eval {given}: a share of --train is over 0 and under 50 %")
    return share


def with_share_apart(files: Files, share: float) -> Files:
    """Return the files with a share of train's rows as those of the evaluation.

    Both parts are written to the user's cache, where the same rows give the same files. The share
    has each class in its proportion, and no text of train. Raises UserError for too few rows.
    """
    read, source = files.labelled(files.train, None), files.train.name
    task = infer_task(read.rows, read.columns, source, read.known, None, files.task)
    parts = dict(zip(PARTS, hold_out(
        read.rows, task, read.columns, share=share, most=len(read.rows), source=source
    ), strict=True))  # fmt: skip
    texts = {
        part: [repr(text) for text in zip(*(rows[n][:] for n in read.columns.texts), strict=True)]
        for part, rows in parts.items()
    }
    seen = set(texts["train"])
    new = [number for number, text in enumerate(texts["eval"]) if text not in seen]
    if not new:
        raise UserError(f"{source}: has no text for the evaluation that is not in train, too")
    twice = len(parts["eval"]) - len(new)
    parts["eval"] = parts["eval"].select(new)
    home = cache("splits") / f"{digest_of(read.rows)[:SHOWN]}-{share:g}"
    stem = "rows" if files.train.in_memory else Path(source).stem
    shares = {"train": 1 - share, "eval": share}
    paths = {part: home / f"{stem}, {100 * shares[part]:.3g} %.parquet" for part in PARTS}
    for part, rows in parts.items():
        if not paths[part].is_file():
            with atomic(paths[part]) as beside, barless():
                rows.to_parquet(beside)
    left_out = f"; {twice:,} texts that are in train too are left out" if twice else ""
    log.info(
        f"{source}: {len(parts['eval']):,} rows are kept for the evaluation alone, in "
        f"{paths['eval']}{left_out}"
    )
    return Files(
        train=str(paths["train"]), evaluation=str(paths["eval"]),
        valid=files.valid, unlabelled=files.unlabelled, text=read.columns.text,
        text_pair=read.columns.text_pair, label=read.columns.label, kind=task.kind,
        windows=files.windows, skip_bad_rows=files.skips,
    )  # fmt: skip
