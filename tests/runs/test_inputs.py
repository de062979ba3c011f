"""A run or a cache whose input changed is refused or not used; a moved file goes on."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file, save_file
from support.runs import corpus_file, saved, shrunk, task_file
from transformers import BertTokenizerFast

from alembert.data.splits import Files
from alembert.io.errors import UserError
from alembert.io.files import cache
from alembert.models.loading import load_config
from alembert.recipes import recipe_of
from alembert.recipes.overrides import with_settings
from alembert.recipes.schema import with_run
from alembert.runs.job import Job
from alembert.runs.run import run


@dataclass(frozen=True)
class House:
    """Inputs of one's own, and the run that was made of them."""

    home: Path

    def __getattr__(self, name: str) -> Path:
        """The path of an input or of the run: train is train.csv, teacher a folder."""
        suffix = {"train": ".csv", "test": ".csv", "valid": ".csv", "more": ".csv"}
        suffix |= {"corpus": ".txt", "vectors": ".txt"}
        return self.home / (name + suffix.get(name, ""))

    def files(self, train: str, valid: str | None) -> Files:
        return Files(train=train, valid=valid, evaluation=str(self.test), unlabelled=str(self.more))

    def job(self, **changes: object) -> Job:
        teacher = str(self.teacher)
        recipe = shrunk(recipe_of("tinybert", load_config(teacher), layers=2))
        files = self.files(str(self.train), str(self.valid))
        job = Job(
            recipe=recipe, out=self.run, teacher=teacher, general_teacher=str(self.general),
            corpus=str(self.corpus), files=files, mlm=str(self.general), vectors=str(self.vectors),
        )  # fmt: skip
        return replace(job, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tokenizer: BertTokenizerFast) -> Path:
    house = House(tmp_path_factory.mktemp("inputs"))
    saved(house.teacher, tokenizer, "classification")
    saved(house.general, tokenizer)
    for seed, name in enumerate(("train", "test", "valid")):
        task_file(getattr(house, name), seed=seed, rows=30)
    task_file(house.more, seed=7, rows=6, labelled=False)
    corpus_file(house.corpus)
    house.vectors.write_text("good 1 0\nbad 0 1\nvery 1 1\n")
    run(house.job())
    return house.home


@pytest.fixture
def house(made: Path, tmp_path: Path) -> House:
    """The inputs under another path, so that every test moves them all, and the run."""
    shutil.copytree(made, tmp_path / "house")
    return House(tmp_path / "house")


def changed(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def other_weights(path: Path) -> None:
    weights = load_file(path / "model.safetensors")
    weights["bert.embeddings.word_embeddings.weight"][5] += 1e-3  # of the letter a
    save_file(weights, path / "model.safetensors", {"format": "pt"})


CHANGES: dict[str, tuple[Callable[[House], object], str]] = {
    "label": (lambda h: changed(h.train, ",up", ",down"), "train.csv: its rows are not those "),
    "row": (lambda h: changed(h.train, "\n", "\ngood,up\n"), "train.csv: its rows are not "),
    "validation": (lambda h: changed(h.valid, ",up", ",down"), "valid.csv: its rows are not "),
    "evaluation": (lambda h: changed(h.test, ",up", ",down"), "test.csv: its rows are not "),
    "unlabelled": (lambda h: changed(h.more, "\n", "\nthe\n"), "more.csv: its rows are not "),
    "corpus": (lambda h: changed(h.corpus, "the", "is"), "corpus.txt: its text is not the text "),
    "vectors": (
        lambda h: changed(h.vectors, "1 0", "0 1"),
        "vectors.txt: its text is not the text ",
    ),
    "teacher": (lambda h: other_weights(h.teacher), "teacher: its weights, config or tokenizer "),
    "general": (lambda h: other_weights(h.general), "general: its weights, config or tokenizer "),
    "config": (lambda h: changed(h.teacher / "config.json", "0.1", "0.2"), "teacher: its weights"),
    "tokenizer": (
        lambda h: changed(h.teacher / "tokenizer.json", "true", "false"),
        "teacher: its weights, config or tokenizer are not those ",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("finished", [True, False])
def test_a_run_whose_input_changed_is_refused_by_its_name(
    what: str, finished: bool, house: House
) -> None:
    if not finished:
        (house.run / "metrics.json").unlink()
        shutil.rmtree(house.run / "stages/03-prediction")
    change, said = CHANGES[what]
    change(house)
    with pytest.raises(UserError) as refused:
        run(house.job())
    line = str(refused.value)
    assert line.startswith(f"{house.home}/{said}"), line
    assert f"that the run in {house.run} was started with: put it back, choose another" in line


def test_a_run_of_another_recipe_or_seed_is_refused_by_the_field(house: House) -> None:
    job = house.job()
    other = with_settings(job.recipe, {"stages.prediction.learning_rate": "0.1"})
    with pytest.raises(
        UserError, match=r"holds another run: stages.2.learning_rate is \S+ there and 0.1"
    ):
        run(replace(job, recipe=other))
    with pytest.raises(UserError, match=r"holds another run: run.seed is 0 there and 1 here"):
        run(replace(job, recipe=with_run(job.recipe, seed=1)))
    with pytest.raises(UserError, match=r"another run: arguments.files.valid is '.*' there and No"):
        run(replace(job, files=house.files(str(house.train), None)))


def test_moved_inputs_and_the_same_rows_in_another_format_go_on(
    house: House, news: list[str]
) -> None:
    run(house.job())  # all of them were moved
    assert news[-1] == f"{house.run}: finished before; nothing to do"
    rows = pd.read_csv(house.train)
    rows.to_json(house.home / "same.jsonl", orient="records", lines=True)
    for train in (str(house.home / "same.jsonl"), rows):
        run(house.job(files=house.files(train, str(house.valid))))
        assert news[-1] == f"{house.run}: finished before; nothing to do"


def test_a_run_of_an_earlier_version_is_compared_by_name_and_says_so(
    made: Path, house: House, news: list[str]
) -> None:
    at = house.run / "environment.json"
    for path in house.run.rglob("checksums.json"):
        path.unlink()
    environment = json.loads(at.read_text())
    assert set(environment.pop("digests")) == {
        "teacher", "general_teacher", "mlm", "corpus", "vectors",
        "files.train", "files.valid", "files.evaluation", "files.unlabelled",
    }  # fmt: skip
    at.write_text(json.dumps(environment))
    with pytest.raises(UserError, match=r"holds another run: arguments.teacher is "):
        run(house.job())
    run(replace(House(made).job(), out=house.run))
    assert news[-1] == f"{house.run}: finished before; nothing to do"
    assert any(f"{house.run}: an earlier version began this run and kept no" in n for n in news)


@pytest.mark.slow
def test_caches_of_other_inputs_are_not_used_and_those_of_moved_ones_are(
    house: House, news: list[str]
) -> None:
    def caches() -> set[str]:
        return {
            f"{name}/{folder.name}"
            for name in ("logits", "traces", "corpus")
            for folder in (cache(name).iterdir() if cache(name).is_dir() else ())
        }

    count = 0

    def again(change: Callable[[], object] | None, *made: str) -> None:
        nonlocal count  # of the runs
        count += 1
        if change is not None:
            change()
        before, out = caches(), house.home / f"run-{count}"
        job = house.job(out=out, mlm=None, vectors=None)
        settings = {"augment": "null", "run.cache_teacher": "true"}
        run(replace(job, recipe=with_settings(job.recipe, settings)))
        assert sorted({each.partition("/")[0] for each in caches() - before}) == sorted(made)

    again(None, "traces", "logits")
    again(None)
    again(lambda: changed(house.train, ",up", ",down"))  # a teacher's logits read no label
    again(lambda: changed(house.train, "\n", "\ngood,up\n"), "logits")
    again(lambda: other_weights(house.teacher), "logits")
    again(lambda: other_weights(house.general), "traces")
    again(lambda: changed(house.corpus, "the", "is"), "corpus", "traces")
    moved = House(house.home / "moved")
    shutil.copytree(house.home, moved.home, ignore=shutil.ignore_patterns("run*"))
    house = moved
    again(None)
