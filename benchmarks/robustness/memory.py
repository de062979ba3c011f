"""The peak memory of files under 10 MB that unpack, expand or pretend to much more.

    python -m benchmarks.robustness.memory [--only "columns" "labels"] [--json FILE]

Each file of tests/support/bombs.py is read in a process of its own, whose peak the system tells.
Exits with 1 when one took 2 GiB or more, or did not end as it has to.
"""

import sys
import tempfile
import time
from pathlib import Path

from benchmarks.lab.results import arguments, write
from benchmarks.lab.tiny import bombs, tokenizer_of


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", nargs="*", choices=list(bombs.BOMBS), default=list(bombs.BOMBS))
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows, wrong = [], False
    for name in asked.only:
        bomb = bombs.BOMBS[name]
        with tempfile.TemporaryDirectory() as place:
            home = Path(place)
            bombs.lay_out(home, tokenizer_of(), bomb)
            words, size = bomb.words.split(), (home / bomb.file).stat().st_size
            out = [] if words[0] == "check" else ["--out", "made"]
            began = time.monotonic()
            code, said, peak = bombs.thrown(home, [*words, *out])
        ended = code == (2 if bomb.says else 0) and bomb.says in said
        wrong = wrong or not ended or peak >= bombs.MOST
        row = {
            "attack": name,
            "file_mb": round(size / 1e6, 2),
            "peak_gib": round(peak / 2**30, 2),
            "seconds": round(time.monotonic() - began, 1),
            "refused": bool(bomb.says),
        }
        rows.append(row)
        outcome = ("refused" if bomb.says else "read") if ended else f"wrong: {said[-300:]!r}"
        print(f"| {name} | {row['file_mb']} | {row['peak_gib']} | {outcome} |", flush=True)
        if asked.json:
            write(asked.json, {"arguments": sys.argv[1:], "rows": rows})
    sys.exit(wrong)


if __name__ == "__main__":
    main()
