"""Candidates for augmentation against the authors' way, one masked word of one text a pass.

    OMP_NUM_THREADS=1 python -m benchmarks.quality.candidates MODEL FILE --json FILE

Both ask the same model about the same words. "plain" is the authors' loop as they wrote it: batch
of one, fp32, the vocabulary head over all tokens, argsort over the vocabulary; it sees a sample of
the rows. Interleaved rounds, CPU time, minima. Agreement: the mean share of candidates that a way
has in common with one word a pass in fp32, over the first 256 rows.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from alembert.augmentation.augment_file import ROWS, augment_file
from alembert.augmentation.candidates import MaskedLM, TextSpans, by_model
from alembert.augmentation.variants import cut
from alembert.data.labels import find_columns
from alembert.data.sources import read
from alembert.models.loading import load_model, load_tokenizer
from alembert.recipes.schema import Augment
from benchmarks.lab.results import arguments, machine, write

SHARES = (0.0, 0.1, 0.15, 0.3, 1.0)
COMPARED = 256  # rows


def asks_of(file: str, rows: int) -> list[TextSpans]:
    data = read(file)
    column = find_columns(data, file, labelled=False).text
    texts = [cut(text) for text in data[column][:rows]]
    return [(text.text, text.spans) for text in texts]


def plain(asks: list[TextSpans], mlm: MaskedLM) -> int:
    """The authors' DataAugmentor, for every word; returns how many words."""
    model, tokenizer, words = mlm.model, mlm.tokenizer, 0
    for text, spans in asks:
        for start, end in spans:
            encoding = tokenizer(text, add_special_tokens=False).encodings[0]
            first, last = encoding.char_to_token(start), encoding.char_to_token(end - 1) + 1
            hidden = [*encoding.ids[:first], tokenizer.mask_token_id, *encoding.ids[last:]]
            cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
            ids = torch.tensor([[cls, *hidden, sep, *encoding.ids, sep]])
            types = torch.tensor([[0] * (len(hidden) + 2) + [1] * (len(encoding.ids) + 1)])
            logits = model(ids, token_type_ids=types).logits
            best = torch.argsort(logits[0, 1 + first], descending=True)[:15].tolist()
            tokenizer.convert_ids_to_tokens(best)
            words += 1
    return words


def batched(
    asks: list[TextSpans], mlm: MaskedLM, together: float
) -> dict[tuple[int, int], list[str]]:
    found: dict[tuple[int, int], list[str]] = {}
    for start in range(0, len(asks), ROWS):
        part = by_model(asks[start : start + ROWS], Augment(together=together), mlm)
        found |= {(start + i, j): words for (i, j), words in part.items()}
    return found


def seconds(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def agreement(one: dict[Any, list[str]], two: dict[Any, list[str]]) -> float:
    shares = [len(set(words) & set(two[key])) / len(words) for key, words in one.items()]
    return round(sum(shares) / len(shares), 3)


def whole_job(given: argparse.Namespace) -> dict[str, float]:
    """augment_file of the rows, from reading the file to the finished one."""
    with tempfile.TemporaryDirectory() as place:
        source, out = Path(place) / "rows.parquet", Path(place) / "out.csv"
        read(given.file).select(range(given.rows)).to_parquet(source)
        began = time.process_time()
        made = augment_file(
            str(source), out, mlm=given.model, vectors=None, embeddings=None,
            settings=Augment(), seed=0, text=None, text_pair=None,
        )  # fmt: skip
        return {"rows": given.rows, "made": made, "cpu_seconds": time.process_time() - began}


def speeds(
    asks: list[TextSpans], sample: list[TextSpans], full: MaskedLM, half: MaskedLM, rounds: int
) -> dict[str, dict[str, float]]:
    """Words a second of each way, from the minima of interleaved rounds."""
    times: dict[str, list[float]] = {}
    few, default = asks[:COMPARED], Augment().together
    for _ in range(rounds):
        with torch.no_grad():
            spent = seconds(lambda: plain(sample, full)) / words_in(sample)
        times.setdefault("plain", []).append(spent)
        for share in SHARES:
            spent = seconds(partial(batched, asks, half, share)) / words_in(asks)
            times.setdefault(f"together {share}", []).append(spent)
        spent = seconds(lambda: batched(few, full, default)) / words_in(few)
        times.setdefault(f"together {default} in fp32", []).append(spent)
    return {
        name: {
            "words_per_second": round(1 / min(spent), 1),
            "times_plain": round(min(times["plain"]) / min(spent), 1),
        }
        for name, spent in times.items()
    }


def words_in(asks: list[TextSpans]) -> int:
    return sum(len(spans) for _, spans in asks)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("model")
    parser.add_argument("file")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--plain-rows", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    asks = asks_of(given.file, given.rows)
    sample = random.Random(0).sample(asks, min(given.plain_rows, len(asks)))
    full = MaskedLM(load_model(given.model, "words"), load_tokenizer(given.model))
    half = MaskedLM(load_model(given.model, "words").bfloat16(), full.tokenizer)
    ways = speeds(asks, sample, full, half, given.rounds)
    compared, default = asks[:COMPARED], Augment().together
    exact = batched(compared, full, 0.0)
    for share in SHARES:
        ways[f"together {share}"]["agreement"] = agreement(exact, batched(compared, half, share))
    fp32 = agreement(exact, batched(compared, full, default))
    ways[f"together {default} in fp32"]["agreement"] = fp32
    found = batched(compared, half, default)
    examples = []
    for i, j in random.Random(1).sample(sorted(found), 10):
        text, spans = compared[i]
        examples.append({"text": text, "word": text[slice(*spans[j])], "candidates": found[i, j]})
    result = {
        **machine(),
        "threads": torch.get_num_threads(),
        "words": words_in(asks),
        "plain_words": words_in(sample),
        "ways": ways,
        "whole_job": whole_job(given),
        "examples": examples,
    }
    print(json.dumps(result, indent=1, ensure_ascii=False))
    if given.json:
        write(given.json, result)


if __name__ == "__main__":
    main()
