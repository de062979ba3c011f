"""Static students beside Model2Vec, TF-IDF, frozen embeddings and their teacher, by labels.

    python -m benchmarks.quality.static DATA TEACHERS OUT --tasks sst2 clinc150 --seeds 0 1 2

DATA is what `python -m benchmarks.lab.data` wrote. Each task is learnt from all of its labels, a
tenth and a hundredth. A teacher is fine-tuned on the labels of each share and seed and lies in
OUT/TASK/SHARE-SEED/teacher; of all labels, TEACHERS/TASK/teacher-SEED is taken where it is
finished. The texts without a label are given to its fine-tuning, and to the static student, with
the teacher's soft labels.
Baselines are those of the teacher's run. Model2Vec is distilled from the encoder that the teacher
starts from, and tuned (`quality.model2vec`); of tags it has nothing. As it may need an environment
of its own, --only model2vec makes its rows alone, and --only students all others. --without leaves
parts of the student out, one at a time.

Everyone has the same rows, of which the same slice is held out, by which everyone chooses. What is
there is not made again: each model has a file in OUT/TASK/SHARE-SEED/rows, and OUT/results.json has
the rows of all of them, so that several processes may fill one OUT with other tasks or seeds.
"""

import importlib.util
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from alembert import distill, finetune
from alembert.api import builtin_teacher
from alembert.export.static import describe
from alembert.io.files import atomic, read_json
from benchmarks.lab.data import split_files
from benchmarks.lab.results import Row, arguments, machine, write
from benchmarks.quality import model2vec
from benchmarks.quality.run import pairs
from benchmarks.quality.shares import Part, divided

TASKS = ("mrpc", "stsb", "snips-intents", "snips", "clinc150", "sst2")
SHARES = (1.0, 0.1, 0.01)  # of the labels
ONLY = ("students", "model2vec")
Settings = Mapping[str, str]
PARTS: dict[str, Settings] = {
    "bigrams": {"student.bigrams": "0"},
    "neurons": {"student.neurons": "0"},
    "start": {"init.start": "scratch"},
    "soft-labels": {"stages.task.objective.SoftLabels": "null"},  # and what they alone label
    "unlabelled": {},  # texts
    "window": {"student.window": "0"},  # of tags
}
ALONE = ("soft-labels", "unlabelled")  # parts without which no unlabelled text is read


@dataclass(frozen=True, kw_only=True)
class Place:
    """One task, share of its labels and seed: its files, and the folder of what is made of them."""

    task: str
    share: float
    seed: int
    part: Part
    at: Path
    encoder: str  # that everything starts from

    @property
    def is_tags(self) -> bool:
        return self.part.whole.endswith(".conll")

    def teacher(self, teachers: Path, settings: Settings) -> Path:
        """The run folder of the teacher of these labels, which is made where it is not there."""
        ready = teachers / self.task / f"teacher-{self.seed}"
        if self.share == 1 and (ready / "metrics.json").is_file():
            return ready
        home = self.at / "teacher"
        if not (home / "metrics.json").is_file():
            finetune(
                self.encoder, home, train=self.part.train, eval=self.part.test, seed=self.seed,
                unlabelled=self.part.unlabelled, settings=settings,
            )  # fmt: skip
        return home

    def student(self, name: str, teacher: Path, settings: Settings) -> Row:
        """Distil the teacher into a static student with these settings."""
        without = name.removeprefix("no-") in ALONE
        home = self.at / name
        distill(
            str(teacher), recipe="static", out=home, train=self.part.train, eval=self.part.test,
            unlabelled=None if without else self.part.unlabelled, seed=self.seed,
            settings=settings, baselines=False, export=False,  # that of the teacher takes minutes
        )  # fmt: skip
        describe(home / "student")
        metrics = read_json(home / "metrics.json")
        value = metrics["student"][metrics["metric"]]
        return {"value": value, "mb": megabytes(home / "student")}

    def file(self, name: str) -> Path:
        """Where the row of a model is kept."""
        return self.at / "rows" / f"{name}.json"

    def row(self, name: str, make: Callable[[], Row]) -> None:
        """Make a model and keep its row, where there is none."""
        file = self.file(name)
        if file.is_file():
            return
        began = time.process_time()
        row = {"task": self.task, "share": self.share, "seed": self.seed, "model": name, **make()}
        row.setdefault("cpu_s", round(time.process_time() - began, 1))
        with atomic(file) as partial_file:
            write(partial_file, row)
        print(row, flush=True)


def megabytes(folder: Path) -> float:
    """The size of a folder's own files."""
    return round(sum(f.stat().st_size for f in folder.glob("*") if f.is_file()) / 1e6, 3)


def rows_of_teacher(place: Place, home: Path) -> None:
    """The rows of a teacher and of the baselines of its run, by the metric of the task."""
    metrics = read_json(home / "metrics.json")
    name = metrics["metric"]
    value = metrics["student"][name]
    place.row("teacher", partial(dict, metric=name, value=value, cpu_s=None))
    for model, found in metrics["baselines"].items():
        made = {"value": found[name], "cpu_s": found["seconds"], "made": found["model"]}
        place.row(model, partial(dict, made))


def distilled(
    place: Place, teachers: Path, arms: Mapping[str, Settings], of_teacher: Settings
) -> None:
    """The teacher of one task, share and seed, its baselines, and its students by their names."""
    left_out = set() if place.is_tags else {"no-window"}
    left_out |= {"no-unlabelled"} if place.part.unlabelled is None else set()
    names = [name for name in arms if name not in left_out]
    if all(place.file(name).is_file() for name in ("teacher", *names)):
        return
    home = place.teacher(teachers, of_teacher)
    rows_of_teacher(place, home)
    for name in names:
        place.row(name, partial(place.student, name, home, arms[name]))


def tuned(place: Place, out: Path) -> Row:
    """The row of Model2Vec, whose vectors are kept for all shares and seeds."""
    home = place.at / "model2vec"
    made = model2vec.tuned(
        place.part, place.encoder, seed=place.seed, to=home,
        bodies=out / "model2vec", of_task=out / place.task / "model2vec",
    )  # fmt: skip
    return {**made, "mb": megabytes(home)}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("teachers", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--shares", nargs="+", type=float, default=list(SHARES))
    parser.add_argument("--encoder", help="default: the model that the quickstart brings")
    parser.add_argument("--known", type=Path, help="results.json of before, whose rows are taken")
    parser.add_argument("--only", choices=ONLY, help="default: both, where Model2Vec is installed")
    parser.add_argument("--without", nargs="*", choices=list(PARTS), default=[])
    parser.add_argument("--set", nargs="*", default=[], help="settings of the recipe: NAME=VALUE")
    parser.add_argument("--set-teacher", nargs="*", default=[], help="those of fine-tuning")
    asked = parser.parse_args()
    changed = pairs(asked.set)
    arms = {"static": changed} | {
        f"no-{part}": {**changed, **PARTS[part]} for part in asked.without
    }
    installed = importlib.util.find_spec("model2vec") is not None
    only = [asked.only] if asked.only else list(ONLY) if installed else ["students"]
    if not installed:
        print("Model2Vec is left out: it is not installed (model2vec[distill,train])")
    write(asked.out / "machine.json", machine())
    for row in read_json(asked.known) if asked.known else ():
        at = asked.out / row["task"] / f"{row['share']:g}-{row['seed']}"
        write(at / "rows" / f"{row['model']}.json", row)
    for seed in asked.seeds:
        for task in asked.tasks:
            whole, _valid, test = split_files(asked.data, task)
            for share in asked.shares:
                at = asked.out / task / f"{share:g}-{seed}"
                place = Place(
                    task=task, share=share, seed=seed, at=at,
                    part=divided(whole, test, share, seed, at),
                    encoder=asked.encoder or builtin_teacher(),
                )  # fmt: skip
                if "students" in only:
                    distilled(place, asked.teachers, arms, pairs(asked.set_teacher))
                if "model2vec" in only and not place.is_tags:
                    place.row("model2vec", partial(tuned, place, asked.out))
                rows = [read_json(file) for file in sorted(asked.out.glob("*/*/rows/*.json"))]
                write(asked.out / "results.json", rows)


if __name__ == "__main__":
    main()
