"""A corpus larger than memory should have to hold: prepared, and trained on, with peak memory.

    python -m benchmarks.robustness.corpus WORK --model DIR --gigabytes 5 --json FILE

Texts of words drawn from the model's own vocabulary by Zipf's law, in shards: .jsonl.zst, .txt.zst
and .parquet in turn. First 200 MB are prepared in turns with the tokenizers library alone, on
paragraphs that already lie in memory. Then `alembert corpus` prepares all the gigabytes and
`alembert distill` trains on the folder, each a process of its own whose peak RSS the system tells.
WORK is left for a second look; shards that are there are not made again.
"""

import json
import shutil
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from alembert.data.corpus.corpus import write_corpus
from alembert.data.corpus.paragraphs import open_source
from alembert.models.loading import load_tokenizer
from benchmarks.lab.results import arguments, write
from benchmarks.lab.workers import measured

SHARD = 512_000_000  # characters
ROUND = 200_000_000
STEPS = 50


def documents(words: list[str], characters: int, seed: int) -> Iterator[str]:
    """Documents of one to eight paragraphs of 20 to 200 words."""
    rng = np.random.default_rng(seed)
    known = np.array(words, object)
    share = np.cumsum(1 / np.arange(10, len(words) + 10))  # the first words less steep: Mandelbrot
    size = 0
    while size < characters:
        drawn = known[np.searchsorted(share, rng.random(500_000) * share[-1])]
        *paragraphs, _ = np.split(drawn, np.cumsum(rng.integers(20, 201, 4000)))
        lines = [" ".join(paragraph) + "." for paragraph in paragraphs]
        *found, _ = np.split(np.array(lines, object), np.cumsum(rng.integers(1, 9, 800)))
        for document in found:
            if size < characters:
                size += sum(map(len, document))
                yield "\n".join(document)


def write_shard(path: Path, found: Iterator[str]) -> int:
    """A shard as its suffix says; its bytes, unpacked."""
    partial, size = path.with_suffix(".partial"), 0
    if path.suffix == ".parquet":
        with pq.ParquetWriter(
            partial, pa.schema({"text": pa.string()}), compression="zstd"
        ) as writer:
            while rows := [row for _, row in zip(range(5000), found, strict=False)]:
                writer.write_table(pa.table({"text": rows}))
                size += sum(map(len, rows))
    else:
        with pa.CompressedOutputStream(str(partial), "zstd") as file:
            for document in found:
                jsonl = path.name.endswith(".jsonl.zst")
                text = json.dumps({"text": document}) + "\n" if jsonl else document + "\n\n"
                file.write(text.encode())
                size += len(text)
    partial.rename(path)
    return size


def generate(work: Path, model: Path, gigabytes: float, shard: int) -> tuple[list[str], int]:
    """Shards of so many characters, and the bytes of all, unpacked."""
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    ids = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    words = [word for word, _ in ids if word.isalpha() and len(word) > 1]
    work.mkdir(parents=True, exist_ok=True)
    sizes_at = work / "sizes.json"
    sizes: dict[str, int] = json.loads(sizes_at.read_text()) if sizes_at.is_file() else {}
    left, number = int(gigabytes * 1e9), 0
    while left > 0:
        suffix = (".jsonl.zst", ".txt.zst", ".parquet")[number % 3]
        path = work / f"shard-{number:02d}{suffix}"
        if str(path) not in sizes:
            sizes[str(path)] = write_shard(path, documents(words, min(left, shard), number))
            sizes_at.write_text(json.dumps(sizes))
        left, number = left - sizes[str(path)], number + 1
    return list(sizes), sum(sizes.values())


def rounds(work: Path, model: Path, count: int) -> list[dict[str, Any]]:
    """Tokens a second of tokenizers alone and of a preparation, in turns in this process.

    Alone is encode_batch_fast on paragraphs that lie in memory, in batches of the size that the
    preparation takes or eight times that: whichever is faster. A preparation hashes the files,
    unpacks and reads them, tokenises, packs, counts and writes.
    """
    shards, _ = generate(work, model, ROUND / 1e9, ROUND // 3)
    tokenizer = load_tokenizer(str(model))
    alone = Tokenizer.from_file(str(model / "tokenizer.json"))
    alone.no_truncation()
    alone.no_padding()
    blocks = [[*filter(None, block)] for path in shards for block, _ in open_source(path).blocks()]
    found = []
    for number in range(count):
        seconds: dict[int, float] = {}
        for joined in (1, 8):
            batches = [[*chain(*blocks[i : i + joined])] for i in range(0, len(blocks), joined)]
            began = time.perf_counter()
            tokens = 0
            for batch in batches:
                tokens += sum(map(len, alone.encode_batch_fast(batch, add_special_tokens=False)))
            seconds[joined] = time.perf_counter() - began
        out = work / f"round-{number}"
        shutil.rmtree(out, ignore_errors=True)
        began = time.perf_counter()
        corpus = write_corpus(shards, tokenizer, 128, out)
        taken = time.perf_counter() - began
        kept = int(corpus.lengths.sum()) - 2 * len(corpus)
        assert 0.99 * tokens < kept <= tokens  # but for sequences that are too short
        shutil.rmtree(out)
        best = min(seconds.values())
        found.append(
            {
                "tokens": tokens,
                "alone_seconds": {f"{joined} MB a batch": s for joined, s in seconds.items()},
                "prepared_seconds": taken,
                "share_of_alone": round(best / taken, 3),
            }
        )
        print(f"round {number}: alone {best:.1f} s, prepared {taken:.1f} s, {best / taken:.1%}")
    return found


def alembert(*words: str) -> dict[str, float]:
    """A command of alembert as a process: seconds, and its peak RSS in GB."""
    used = measured(["-m", "alembert", *words])
    return {"seconds": used.seconds, "peak_rss_gb": round(used.peak_gib * 2**30 / 1e9, 3)}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--model", type=Path, required=True, help="a saved BERT")
    parser.add_argument("--gigabytes", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3, help="against tokenizers alone")
    parser.add_argument("--batch-size", type=int, default=8, help="sequences a step of training")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    compared = rounds(given.work / "rounds", given.model, given.rounds)
    shards, size = generate(given.work, given.model, given.gigabytes, SHARD)
    stored = sum(Path(shard).stat().st_size for shard in shards)
    print(f"{len(shards)} shards: {size / 1e9:.2f} GB of text, {stored / 1e9:.2f} GB stored")
    corpus, run = given.work / "corpus", given.work / "run"
    shutil.rmtree(corpus, ignore_errors=True)
    shutil.rmtree(run, ignore_errors=True)
    prepared: dict[str, Any] = alembert(
        "corpus", *shards, "--tokenizer", str(given.model), "--out", str(corpus)
    )
    facts = json.loads((corpus / "corpus.json").read_text())
    tokens = facts["tokens"] - 2 * facts["sequences"]  # without [CLS] and [SEP]
    prepared |= {"tokens": tokens, "tokens_per_second": round(tokens / prepared["seconds"])}
    print(prepared)
    trained = alembert(
        "distill", "tinybert", "--teacher", str(given.model), "--corpus", str(corpus),
        "--out", str(run), "--set", f"stages.general.steps={STEPS}",
        "--set", f"stages.general.batch_size={given.batch_size}",
    )  # fmt: skip
    environment = json.loads((run / "environment.json").read_text())
    result = {
        "text_bytes": size,
        "stored_bytes": stored,
        "corpus_bytes": sum(path.stat().st_size for path in corpus.iterdir()),
        "sequences": facts["sequences"],
        "prepared": prepared,
        "trained": {"steps": STEPS, "batch_size": given.batch_size, **trained},
        "rounds": compared,
        "share_of_tokenizers_alone": median(each["share_of_alone"] for each in compared),
        **{name: environment[name] for name in ("hardware", "versions")},
    }
    print(json.dumps(result, indent=1))
    if given.json:
        write(given.json, result)


if __name__ == "__main__":
    main()
