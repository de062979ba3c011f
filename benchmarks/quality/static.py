"""Static students beside Model2Vec, TF-IDF, frozen embeddings and their teacher: figure and time.

    python -m benchmarks.quality.static DATA TEACHERS OUT --tasks sst2 clinc150 --seeds 0 1 2

DATA is what `python -m benchmarks.lab.data` wrote, and TEACHERS holds TASK/teacher-SEED. Each task
is learnt from all of its labels, a tenth and a hundredth (tags from all); the texts without a label
are given to the static student as unlabelled. Baselines are those that every run has. Model2Vec is
distilled from --encoder and its classifier is fine-tuned, on tasks of single texts, where the
package is installed; otherwise a line says that it is left out. The static student and Model2Vec
answer the same texts in turns, which gives the microseconds a text. --without leaves parts of the
student out, one at a time. OUT/results.json has a row for each model.
"""

import importlib.util
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from alembert import distill
from alembert.api.deploy import open_session
from alembert.io.files import read_json
from benchmarks.lab.data import split_files
from benchmarks.lab.results import Row, add, arguments, machine, write

SHARES = (1.0, 0.1, 0.01)  # of the labels
TIMED, ROUNDS = 1000, 7  # texts in a round, and rounds of each model
LEAST = 2  # labelled texts of a class
KEY = ("task", "share", "seed", "model")
PARTS = {
    "bigrams": {"student.bigrams": "0"},
    "neurons": {"student.neurons": "0"},
    "soft-labels": {"stages.task.objective.SoftLabels": "null"},
    "start": {"init.start": "scratch"},
}
Answer = Callable[[list[str]], Any]


def divided(path: str, share: float, seed: int, to: Path) -> tuple[str, str | None]:
    """A share of a file's rows, of a class at least LEAST; and the others without their labels."""
    if share == 1:
        return path, None
    rows = pd.read_csv(path, keep_default_na=False)
    order = rows.sample(frac=1.0, random_state=seed)
    label = order.columns[-1]
    kept = np.arange(len(order)) < share * len(order)
    if order[label].dtype.kind != "f":
        kept |= (order.groupby(label).cumcount() < LEAST).to_numpy()
    to.mkdir(parents=True, exist_ok=True)
    order[kept].to_csv(to / "train.csv", index=False)
    order[~kept].drop(columns=label).to_csv(to / "unlabelled.csv", index=False)
    return str(to / "train.csv"), str(to / "unlabelled.csv")


def static(
    files: tuple[str, ...], unlabelled: str | None, teacher: str, out: Path,
    settings: Mapping[str, str],
) -> Iterator[Row]:  # fmt: skip
    """Rows of a run of the recipe `static` with these settings, and of what it is compared with."""
    if not (out / "metrics.json").is_file():
        distill(
            teacher, recipe="static", train=files[0], valid=files[1], eval=files[2], out=out,
            unlabelled=unlabelled, settings=settings,
        )  # fmt: skip
    metrics = read_json(out / "metrics.json")
    size = sum(file.stat().st_size for file in (out / "student").glob("*") if file.is_file())
    yield {"model": out.name, "value": metrics["student"][metrics["metric"]], "mb": size / 1e6}
    others = {"teacher": metrics["teacher"], **metrics.get("baselines", {})}
    for name, measured in others.items():
        yield {"model": name, "value": measured[metrics["metric"]]}


def model2vec(files: tuple[str, ...], encoder: str) -> tuple[Row, Answer]:
    """Model2Vec distilled from the encoder, with its classifier fine-tuned."""
    from model2vec.distill import distill as to_vectors
    from model2vec.train import StaticModelForClassification

    parts = [pd.read_csv(file, keep_default_na=False).astype(str) for file in files]
    texts, labels = ([part[name].tolist() for part in parts] for name in ("text", "label"))
    vectors = to_vectors(encoder, pca_dims=256)
    model = StaticModelForClassification.from_static_model(model=vectors)
    model.fit(texts[0], labels[0], X_val=texts[1], y_val=labels[1])
    pipeline = model.to_pipeline()
    value = float(np.mean(np.array(pipeline.predict(texts[2])) == np.array(labels[2])))
    return {"model": "model2vec", "value": value, "mb": vectors.embedding.nbytes / 1e6}, (
        pipeline.predict
    )


def timed(models: Mapping[str, Answer], texts: list[str]) -> dict[str, float]:
    """The median microseconds a text of each model; the models take turns at all texts."""
    spent: dict[str, list[float]] = {name: [] for name in models}
    for number in range(ROUNDS + 1):
        for name, answer in models.items():
            start = time.perf_counter()
            answer(texts)
            if number:  # the first round warms up
                spent[name].append(1e6 * (time.perf_counter() - start) / len(texts))
    return {name: median(each) for name, each in spent.items()}


def measured(
    files: tuple[str, ...], unlabelled: str | None, teacher: str, at: Path,
    arms: Mapping[str, Mapping[str, str]], encoder: str | None,
) -> list[Row]:  # fmt: skip
    """The rows of one task, share of labels and seed."""
    rows: dict[str, Row] = {}
    for name, settings in arms.items():
        for row in static(files, unlabelled, teacher, at / name, settings):
            rows.setdefault(row["model"], row)
    if files[2].endswith(".csv"):
        test = pd.read_csv(files[2], keep_default_na=False)
        if list(test.columns) == ["text", "label"]:
            models: dict[str, Answer] = {name: open_session(at / name).predict for name in arms}
            if encoder is not None:
                row, models["model2vec"] = model2vec(files, encoder)
                rows["model2vec"] = row
            texts = test["text"].astype(str).tolist()
            for name, us in timed(models, (texts * (TIMED // len(texts) + 1))[:TIMED]).items():
                rows[name]["us"] = us
    return list(rows.values())


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("teachers", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tasks", nargs="+", default=["sst2", "mrpc", "stsb", "clinc150", "snips"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--shares", nargs="+", type=float, default=list(SHARES))
    parser.add_argument("--encoder", help="that Model2Vec is distilled from")
    parser.add_argument("--without", nargs="*", choices=list(PARTS), default=[])
    parser.add_argument("--set", nargs="*", default=[], help="settings of the recipe: NAME=VALUE")
    asked = parser.parse_args()
    changed = dict(each.split("=", 1) for each in asked.set)
    arms = {"static": changed} | {f"no-{part}": changed | PARTS[part] for part in asked.without}
    encoder = asked.encoder
    if encoder is None or importlib.util.find_spec("model2vec") is None:
        print("Model2Vec is left out: install model2vec[distill,train], and give --encoder")
        encoder = None
    write(asked.out / "machine.json", machine())
    for task in asked.tasks:
        whole = split_files(asked.data, task)
        for seed in asked.seeds:
            teacher = str(asked.teachers / task / f"teacher-{seed}")
            for share in asked.shares if whole[0].endswith(".csv") else [1.0]:
                at = asked.out / task / f"{share:g}-{seed}"
                train, unlabelled = divided(whole[0], share, seed, at)
                rows = measured((train, *whole[1:]), unlabelled, teacher, at, arms, encoder)
                rows = [{"task": task, "share": share, "seed": seed, **row} for row in rows]
                add(asked.out / "results.json", rows, KEY)
                for row in rows:
                    print(row)


if __name__ == "__main__":
    main()
