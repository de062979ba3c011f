"""A static student's time a text beside Model2Vec, fastText and TF-IDF, around each public call.

    python -m benchmarks.speed.static DATA MODELS OUT --tasks sst2 clinc150

DATA is what benchmarks.lab.data wrote, and MODELS what benchmarks.quality.static did: of each task
TASK/1-SEED/static and TASK/1-SEED/model2vec. fastText and a pipeline of scikit-learn are trained on
the task's train.csv and kept in OUT. Each number of threads is a process of its own, whose
libraries have as many, and in which all models take turns: at texts one by one, and at lists of
--batches texts. A round has texts that no round before it had, as far as there are so many;
the first one is told apart (first_us), as a static student then meets most of its words for the
first time. What is not installed is left out, and said.

OUT/results.json has microseconds a text (median of the rounds; of the clock, and of the process's
CPU), texts a second, and megabytes on disk. OUT/parts.json has what a text's time is made of: each
part of Session.predict beside a floor, the least that numpy or Python can do with as much data.
"""

import importlib.util
import itertools
import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from alembert.inference import Session
from alembert.inference.predictions import predictions
from alembert.inference.static import StaticEngine
from alembert.inference.words import Words
from benchmarks.lab.results import Row, arguments, machine, write
from benchmarks.lab.workers import environment

ROUNDS = 7  # after the first
LEAST = 1000  # texts in a round, at least
POOLS = ("OMP", "OPENBLAS", "MKL", "RAYON")
PART = 1000  # texts of which the parts are timed
Answer = Callable[[list[str]], Any]


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model's public call for a list of texts and for one, and its size on disk."""

    many: Answer
    one: Callable[[str], Any]
    mb: float


def texts_of(data: Path, task: str) -> list[str]:
    """The texts of test and train, in random order."""
    files = [data / task / f"{name}.csv" for name in ("test", "train")]
    read = [pd.read_csv(file, keep_default_na=False)["text"].astype(str) for file in files]
    texts = pd.concat(read).drop_duplicates()
    found: list[str] = texts.sample(frac=1.0, random_state=0).tolist()
    return found


def static(folder: Path, threads: int) -> Model:
    session = Session(folder, threads=threads)
    home = folder / "student"
    return Model(many=session.predict, one=session.predict, mb=_megabytes(home.glob("*")))


def model2vec(folder: Path, threads: int) -> dict[str, Model]:
    """The pipeline with its classifier, and its vectors alone."""
    from model2vec.inference import StaticModelPipeline

    pipeline = StaticModelPipeline.from_pretrained(folder)
    mb, several = _megabytes(folder.glob("*")), threads > 1

    def encode(texts: list[str]) -> Any:
        return pipeline.model.encode(texts, use_multiprocessing=several)

    return {
        "model2vec": Model(
            many=lambda texts: pipeline.predict(texts, use_multiprocessing=several),
            one=lambda text: pipeline.predict([text]), mb=mb,
        ),
        "model2vec, vectors alone": Model(many=encode, one=lambda text: encode([text]), mb=mb),
    }  # fmt: skip


def fasttext(train: Path, file: Path, seed: int) -> Model:
    """The settings of fastText's own tutorial; a list for one text, as 0.9.2 fails at a str."""
    from fasttext import load_model, train_supervised

    if not file.is_file():
        rows = pd.read_csv(train, keep_default_na=False).astype(str)
        lines = [f"__label__{b} {a}" for a, b in zip(rows["text"], rows["label"], strict=True)]
        text = file.with_suffix(".txt")
        text.write_text("\n".join(lines) + "\n", encoding="utf-8")
        model = train_supervised(
            str(text), lr=0.5, epoch=25, wordNgrams=2, bucket=200_000, dim=50, thread=1,
            seed=seed, verbose=0,
        )  # fmt: skip
        model.save_model(str(file))
    model = load_model(str(file))
    return Model(
        many=model.predict, one=lambda text: model.predict([text]), mb=_megabytes(iter([file]))
    )


def tfidf(train: Path, file: Path) -> Model:
    """Words and pairs of words, and a linear SVM."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    if not file.is_file():
        rows = pd.read_csv(train, keep_default_na=False).astype(str)
        model = make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LinearSVC(random_state=0)
        )
        file.write_bytes(pickle.dumps(model.fit(rows["text"], rows["label"])))
    model = pickle.loads(file.read_bytes())
    return Model(
        many=model.predict, one=lambda text: model.predict([text]), mb=_megabytes(iter([file]))
    )


def models_of(
    data: Path, models: Path, out: Path, task: str, *, seed: int, threads: int
) -> dict[str, Model]:
    """All models of a task that are there."""
    train = data / task / "train.csv"
    made = models / task / f"1-{seed}"
    found = {"static": static(made / "static", threads)}
    if importlib.util.find_spec("model2vec") is not None and (made / "model2vec").is_dir():
        found |= model2vec(made / "model2vec", threads)
    if importlib.util.find_spec("fasttext") is not None:
        found["fasttext"] = fasttext(train, out / f"{task}.bin", seed)
    found["tfidf"] = tfidf(train, out / f"{task}.pickle")
    return found


def timed(models: dict[str, Model], texts: list[str], batch: int) -> list[Row]:
    """Rows of all models, which take turns at the same lists of texts."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in models}
    endless = itertools.cycle(texts)
    for _ in range(ROUNDS + 1):
        chosen = list(itertools.islice(endless, max(batch, LEAST)))
        lists = [chosen[start : start + batch] for start in range(0, len(chosen), batch)]
        for name, model in models.items():
            began, cpu = time.perf_counter(), time.process_time()
            if batch == 1:
                for text in chosen:
                    model.one(text)
            else:
                for each in lists:
                    model.many(each)
            seconds = time.perf_counter() - began, time.process_time() - cpu
            spent[name].append((1e6 * seconds[0] / len(chosen), 1e6 * seconds[1] / len(chosen)))
    rows = []
    for name, (first, *rest) in spent.items():
        us, cpu_us = (median(times) for times in zip(*rest, strict=True))
        rows.append({
            "model": name, "batch": batch, "us": round(us, 2), "cpu_us": round(cpu_us, 2),
            "first_us": round(first[0], 2), "texts_per_s": round(1e6 / us), "mb": models[name].mb,
        })  # fmt: skip
    return rows


def parts(session: Session, texts: list[str]) -> list[Row]:
    """Microseconds of CPU a text of each part of Session.predict, and of the part's floor."""
    engine, words = session.engine, session._words
    assert isinstance(engine, StaticEngine)
    assert isinstance(words, Words)
    tokenizer, table, head = session.reader.tokenizer, engine._words, engine._head
    known = words.rows(texts)
    assert known is not None
    ids, lengths = known
    starts = np.cumsum(lengths) - lengths
    rows, out = engine._gathered(ids, starts), np.empty((len(ids), table.shape[1]), np.float32)
    sums = np.add.reduceat(rows, starts, axis=0)
    logits = engine._answered(sums[:, :-1])
    inner = np.zeros((len(texts), len(head[-1][0])), np.float32)

    def multiplied() -> Any:
        return [sums[:, :-1] @ head[0][0], *([inner @ head[1][0]] if len(head) > 1 else [])]

    jobs: dict[str, tuple[Callable[[], Any], Callable[[], Any] | None]] = {
        "normalise, tokenise, look up": (
            lambda: words.rows(texts), lambda: " ".join(texts).split(" "),
        ),
        "the tokenizer, where nothing is looked up": (
            lambda: [tokenizer.encode(text) for text in texts], None,
        ),
        "gather": (
            lambda: engine._gathered(ids, starts), lambda: table.take(ids, axis=0, out=out),
        ),
        "pool": (lambda: np.add.reduceat(rows, starts, axis=0), lambda: np.copyto(out, rows)),
        "head": (lambda: engine._answered(sums[:, :-1]), multiplied),
        "answers": (
            lambda: predictions(session.kind, logits, session.names),
            lambda: [session.labels[i] for i in logits.argmax(1).tolist()],
        ),
        "all of Session.predict": (lambda: session.predict(texts), None),
    }  # fmt: skip
    found: dict[str, list[list[float]]] = {name: [] for name in jobs}
    for _ in range(3 * ROUNDS):
        for name, job in jobs.items():
            found[name].append([_seconds(each) for each in job if each is not None])
    made = []
    for name, seconds in found.items():
        us = [round(1e6 * median(each) / len(texts), 2) for each in zip(*seconds, strict=True)]
        made.append({"part": name, "us": us[0], "floor_us": us[1] if len(us) > 1 else None})
    return made


def _seconds(do: Callable[[], Any]) -> float:
    began = time.process_time()
    do()
    return time.process_time() - began


def _megabytes(files: Iterator[Path]) -> float:
    return round(sum(file.stat().st_size for file in files if file.is_file()) / 1e6, 3)


def in_a_process(words: list[str], threads: int) -> dict[str, list[Row]]:
    """What this module prints, in a process whose libraries have so many threads."""
    sizes = {f"{name}_NUM_THREADS": str(threads) for name in POOLS}
    parallel = {"TOKENIZERS_PARALLELISM": "true" if threads > 1 else "false"}
    command = [sys.executable, "-m", "benchmarks.speed.static", *words, "--inside", str(threads)]
    done = subprocess.run(
        command, env=environment(**sizes, **parallel), stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, list[Row]] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("models", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tasks", nargs="+", default=["sst2", "clinc150"])
    parser.add_argument("--seed", type=int, default=0, help="of the models")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 1000, 100_000])
    parser.add_argument("--inside", type=int, help="of a process that measures: its threads")
    asked = parser.parse_args()
    if asked.inside is None:
        for name in ("model2vec", "fasttext"):
            if importlib.util.find_spec(name) is None:
                print(f"{name} is left out: it is not installed")
        asked.out.mkdir(parents=True, exist_ok=True)
        found = [in_a_process(sys.argv[1:], threads) for threads in asked.threads]
        for name in ("results", "parts"):
            write(asked.out / f"{name}.json", [row for each in found for row in each[name]])
        write(asked.out / "machine.json", machine() | {"cores": os.cpu_count()})
        return
    results: list[Row] = []
    made: list[Row] = []
    for task in asked.tasks:
        texts, about = texts_of(asked.data, task), {"task": task, "threads": asked.inside}
        models = models_of(
            asked.data, asked.models, asked.out, task, seed=asked.seed, threads=asked.inside
        )
        for batch in asked.batches:
            results += [about | row for row in timed(models, texts, batch)]
            for row in results[-len(models) :]:
                print(row, file=sys.stderr)
        if asked.inside == 1:
            session = Session(asked.models / task / f"1-{asked.seed}" / "static")
            made += [{"task": task} | row for row in parts(session, texts[:PART])]
    print(json.dumps({"results": results, "parts": made}))


if __name__ == "__main__":
    main()
