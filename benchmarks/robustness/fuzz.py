"""Hostile data files, recipes and settings for as long as is asked: never a stack trace.

    python -m benchmarks.robustness.fuzz --minutes 30 [--only csv json] [--seed N] [--json FILE]

The attacks of tests/support/hostile.py take turns, a hundred draws each. What is neither a
UserError nor success is shrunk, printed once for each place that it comes from, and the rest goes
on. Exits with 1 when there was any.
"""

import os
import sys
import time
import traceback
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"
from hypothesis import HealthCheck, Phase, given, seed, settings
from tqdm import tqdm
from transformers import BertTokenizer

from benchmarks.lab.results import arguments, write
from benchmarks.lab.tiny import ATTACKS, thrown, tokenizer_of

DRAWS = 100


def place(error: BaseException) -> str:
    """The kind of an error, and where in the package it came through last."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/alembert/" in f.filename]
    at = f" at {Path(frames[-1].filename).name}:{frames[-1].name}" if frames else ""
    return f"{type(error).__name__}{at}"


def attacked(name: str, number: int, tokenizer: BertTokenizer, thrown_at: Counter[str]) -> Any:
    """(place, what was drawn, trace) of a finding after at most DRAWS draws, or None."""
    last: list[Any] = []

    @seed(number)
    @settings(
        max_examples=DRAWS, database=None, deadline=None, derandomize=False,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
    )  # fmt: skip
    @given(ATTACKS[name].draws)
    def throws(drawn: Any) -> None:
        thrown_at[name] += 1
        last[:] = [drawn]
        thrown(ATTACKS[name], drawn, tokenizer)

    try:
        throws()
    except Exception as error:  # whatever it is: it is what is looked for
        return place(error), repr(last[0])[:600], traceback.format_exc()[-3000:]
    return None


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--only", nargs="*", choices=list(ATTACKS), default=list(ATTACKS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    tokenizer = tokenizer_of()
    began, inputs, found = time.monotonic(), Counter[str](), dict[str, dict[str, str]]()
    bar = tqdm(unit="input", disable=None)
    for number in count(asked.seed):
        for name in asked.only:
            if time.monotonic() - began > 60 * asked.minutes:
                break
            before = inputs[name]
            if finding := attacked(name, number, tokenizer, inputs):
                where, drawn, trace = finding
                if (key := f"{name}: {where}") not in found:
                    print(f"\n{key}\n{drawn}\n{trace}", flush=True)
                    found[key] = {"input": drawn, "seed": str(number)}
            bar.update(inputs[name] - before)
        else:
            continue
        break
    bar.close()
    print(f"{inputs.total():,} inputs in {(time.monotonic() - began) / 60:.1f} minutes:", end=" ")
    print(f"{len(found)} findings; {dict(inputs)}")
    if asked.json:
        content = {"arguments": sys.argv[1:], "inputs": dict(inputs), "findings": found}
        write(asked.json, content)
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
