"""A cache of rows in files of a few thousand rows each: checked by checksum, and resumable."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from alembert.io.files import CACHE_FIX, atomic
from alembert.io.locks import waited_for
from alembert.io.tensors import damage_of_part

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """The files of a cache in `folder`, each of `size` of its `rows` rows; the last may be shorter.

    A part's file is written by `tensors.save_part`. A run that is killed loses one part at most.
    """

    folder: Path
    rows: int
    size: int

    @property
    def ranges(self) -> list[range]:
        """The numbers of each part's rows."""
        starts = range(0, self.rows, self.size)
        return [range(start, min(start + self.size, self.rows)) for start in starts]

    def path(self, part: range) -> Path:
        """The part's file, named by its first row."""
        return self.folder / f"{part.start:010d}.safetensors"

    def is_whole(self, part: range) -> bool:
        """Whether the part's file is there and undamaged; a damaged one is named and removed."""
        path = self.path(part)
        if not path.is_file():
            return False
        if damage := damage_of_part(path, part):
            log.warning(f"{path}: is damaged ({damage}): its {len(part):,} rows are made anew")
            path.unlink()
        return not damage

    def make(self, part: range, write: Callable[[Path], None]) -> None:
        """Writes the part's file, unless it is whole; of several processes only one writes."""
        path = self.path(part)
        with waited_for(path.with_suffix(".lock"), fix=CACHE_FIX):
            if not self.is_whole(part):
                with atomic(path, CACHE_FIX) as partial:
                    write(partial)
