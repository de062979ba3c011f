"""A corpus larger than memory should have to hold: prepared, and trained on, with peak memory.

    python benchmarks/corpus.py WORK --model DIR --gigabytes 5 --json results/corpus/results.json

Texts of words drawn from the model's own vocabulary by Zipf's law, in shards: .jsonl.zst, .txt.zst
and .parquet in turn. `alembert corpus` prepares them and `alembert distill` trains on the folder,
each a process of its own whose peak RSS the system tells. Beside it the tokenizers library alone,
on paragraphs that already lie in memory, before the preparation and after it. WORK is left for a
second look; what is there is not made again.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from alembert.data.paragraphs import open_source

SHARD = 512_000_000  # characters
STEPS = 20


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


def generate(work: Path, model: Path, gigabytes: float) -> tuple[list[str], int]:
    """The shards, and their bytes unpacked."""
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
            sizes[str(path)] = write_shard(path, documents(words, min(left, SHARD), number))
            sizes_at.write_text(json.dumps(sizes))
        left, number = left - sizes[str(path)], number + 1
    return list(sizes), sum(sizes.values())


def alone(shard: str, model: Path, megabytes: int) -> float:
    """Tokens a second of tokenizers by itself: the better of two sizes of batches."""
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    blocks: list[list[str]] = []
    size = 0
    for block, _ in open_source(shard).blocks():
        blocks.append([paragraph for paragraph in block if paragraph])
        size += sum(map(len, block))
        if size > megabytes * 1e6:
            break
    rates = []
    for joined in (1, 8):
        batches = [[*chain(*blocks[i : i + joined])] for i in range(0, len(blocks), joined)]
        tokens, seconds = 0, 0.0
        for batch in batches:
            began = time.perf_counter()
            found = tokenizer.encode_batch_fast(batch, add_special_tokens=False)
            seconds += time.perf_counter() - began
            tokens += sum(map(len, found))
        rates.append(tokens / seconds)
    return max(rates)


def measured(*words: str) -> dict[str, float]:
    """An alembert command as a process: seconds, and its peak RSS in GB."""
    began = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "alembert.cli", *words])
    peak = 0
    # the system's own peak of the process, asked again and again; that of wait4 would have in it
    # what this process held when it started the other
    while child.poll() is None:
        status = Path(f"/proc/{child.pid}/status").read_text()
        peak = max([peak, *(int(kb) for kb in re.findall(r"^VmHWM:\s+(\d+) kB", status, re.M))])
        time.sleep(0.1)
    if child.returncode:
        sys.exit(f"{' '.join(words)}: exit code {child.returncode}")
    seconds = round(time.perf_counter() - began, 1)
    return {"seconds": seconds, "peak_rss_gb": round(peak * 1024 / 1e9, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Preparation and training of a large corpus.")
    parser.add_argument("work", type=Path)
    parser.add_argument("--model", type=Path, required=True, help="a saved BERT")
    parser.add_argument("--gigabytes", type=float, default=5.0)
    parser.add_argument("--alone-megabytes", type=int, default=150)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    shards, size = generate(given.work, given.model, given.gigabytes)
    stored = sum(Path(shard).stat().st_size for shard in shards)
    print(f"{len(shards)} shards: {size / 1e9:.2f} GB of text, {stored / 1e9:.2f} GB stored")
    corpus, run = given.work / "corpus", given.work / "run"
    shutil.rmtree(corpus, ignore_errors=True)
    shutil.rmtree(run, ignore_errors=True)
    rates = [alone(shards[0], given.model, given.alone_megabytes)]
    prepared: dict[str, Any] = measured(
        "corpus", *shards, "--tokenizer", str(given.model), "--out", str(corpus)
    )
    rates.append(alone(shards[-1], given.model, given.alone_megabytes))
    facts = json.loads((corpus / "corpus.json").read_text())
    tokens = facts["tokens"] - 2 * facts["sequences"]  # without [CLS] and [SEP]
    prepared |= {"tokens": tokens, "tokens_per_second": round(tokens / prepared["seconds"])}
    trained = measured(
        "distill", "tinybert", "--teacher", str(given.model), "--corpus", str(corpus),
        "--out", str(run), "--set", f"stages.general.steps={STEPS}",
        "--set", "stages.general.batch_size=64",
    )  # fmt: skip
    environment = json.loads((run / "environment.json").read_text())
    result = {
        "text_bytes": size,
        "stored_bytes": stored,
        "corpus_bytes": sum(path.stat().st_size for path in corpus.iterdir()),
        "sequences": facts["sequences"],
        "prepared": prepared,
        "tokenizers_alone_tokens_per_second": [round(rate) for rate in rates],
        "share_of_tokenizers_alone": round(tokens / prepared["seconds"] / max(rates), 3),
        "trained": {"steps": STEPS, **trained},
        **{name: environment[name] for name in ("hardware", "versions")},
    }
    print(json.dumps(result, indent=1))
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
