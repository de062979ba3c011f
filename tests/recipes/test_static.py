"""The recipe of a static student: its shape, its words, and a resumed run of it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support.runs import corpus_file, saved, task_file
from transformers import BertConfig, BertTokenizerFast, PreTrainedModel

import alembert
from alembert.data.splits import Files
from alembert.initialization.static import static_student
from alembert.io.errors import UserError
from alembert.models.loading import load_config, load_model
from alembert.models.static.packing import unpacked
from alembert.objectives.label_terms import HardLabels
from alembert.recipes import recipe_of
from alembert.recipes.overrides import with_settings
from alembert.recipes.schema import Masking, replaced
from alembert.recipes.stages import on_corpus
from alembert.runs.job import Job
from alembert.runs.run import run
from alembert.runs.stages import prepare
from alembert.runs.trim import trim_model
from alembert.training import loop
from alembert.training.callbacks import Callback, Progress


def test_it_has_a_width_and_no_layers() -> None:
    assert recipe_of("static", BertConfig(), hidden_size=32).student["hidden_size"] == 32
    with pytest.raises(UserError, match="--layers 2: a static student has no layers"):
        recipe_of("static", BertConfig(), layers=2)
    with pytest.raises(UserError, match="--hidden-size 769: a static student of this teacher is"):
        recipe_of("static", BertConfig(), hidden_size=769)


class KilledError(Exception):
    """Stands for a kill."""


class Killer(Callback):
    """Ends the process, as far as the run can tell, after one step."""

    def __init__(self, last: int = 0) -> None:
        self.last = last

    def step(self, progress: Progress) -> None:
        if progress.step == self.last:
            raise KilledError


def test_a_run_that_goes_on_ends_in_the_same_bits(
    tmp_path: Path, tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1.0)
    teacher = saved(tmp_path / "t", tokenizer, "classification")
    data = task_file(tmp_path / "train.csv", rows=120)
    short = {"stages.task.steps": "40", "stages.task.batch_size": "8",
             "stages.task.max_length": "32"}  # fmt: skip
    recipe = with_settings(recipe_of("static", load_config(teacher)), short)

    def job(name: str, last: int = 0) -> Job:
        return Job(recipe=recipe, out=tmp_path / name, teacher=teacher, files=Files(train=data),
                   callbacks=(Killer(last),))  # fmt: skip

    run(job("whole"))
    with pytest.raises(KilledError):
        run(job("killed", 25))
    run(job("killed"))
    ends = [unpacked(tmp_path / name / "student/model.safetensors") for name in ("whole", "killed")]
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(tensor, ends[1][name]) for name, tensor in ends[0].items())


def test_the_vocabulary_of_the_task_makes_it_smaller(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    teacher = saved(tmp_path / "t", tokenizer, "classification")
    data = task_file(tmp_path / "train.csv")
    settings = {"stages.task.steps": "4", "stages.task.max_length": "32", "run.vocabulary": "task"}
    recipe = with_settings(recipe_of("static", load_config(teacher)), settings)
    run(Job(recipe=recipe, out=tmp_path / "run", teacher=teacher, files=Files(train=data)))
    config = load_config(str(tmp_path / "run"))
    with pytest.raises(UserError, match="distil it anew with --vocabulary task"):
        trim_model(str(tmp_path / "run"), tmp_path / "less", data=[data], corpus=None, keep=None,
                   coverage=1.0, text=None, text_pair=None)  # fmt: skip
    assert config.vocab_size < 99
    assert len(config.special_token_ids) == 3


def test_it_starts_from_the_encoder_that_its_teacher_was_before_the_task(
    news: list[str],
    tmp_path: Path,
    tokenizer: BertTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = task_file(tmp_path / "train.csv")
    body = saved(tmp_path / "body", tokenizer)
    short = {"stages.linear.steps": 2, "stages.task.steps": 2}
    alembert.finetune(body, tmp_path / "known", train=data, settings=short, max_length=32)
    unknown = saved(tmp_path / "unknown", tokenizer, "classification")
    started: list[PreTrainedModel] = []

    def start(fields: Any, head: str, labels: Any, encoder: PreTrainedModel, *more: Any) -> Any:
        started.append(encoder)
        return static_student(fields, head, labels, encoder, *more)

    monkeypatch.setattr(prepare, "static_student", start)
    for teacher in (str(tmp_path / "known"), unknown):
        recipe = with_settings(
            recipe_of("static", load_config(teacher)),
            {"stages.task.steps": "2", "stages.task.max_length": "32"},
        )
        out = tmp_path / f"of-{Path(teacher).name}"
        run(Job(recipe=recipe, out=out, teacher=teacher, files=Files(train=data)))
    told = [line for line in news if line.startswith("vectors of texts: ")]
    assert told[0] == f"vectors of texts: by {body}, which the teacher was before its task"
    assert told[1].startswith("vectors of texts: by the teacher itself, not as it was before its")
    for found, path in zip(started, (body, unknown), strict=True):
        state = load_model(path, "encoder").state_dict()
        of_body = found.base_model.state_dict()
        kept = [name for name in state if not name.startswith("pooler")]  # which is drawn anew
        assert kept
        assert all(torch.equal(state[name], of_body[name]) for name in kept)


def test_it_learns_no_corpus(tmp_path: Path, tokenizer: BertTokenizerFast) -> None:
    teacher = saved(tmp_path / "t", tokenizer)
    recipe = recipe_of("static", load_config(teacher))
    stage = on_corpus("general", (HardLabels(),), 1e-3, masking=Masking(), max_length=32)
    job = Job(recipe=replaced(recipe, stages=(stage,)), out=tmp_path / "run", teacher=teacher,
              corpus=corpus_file(tmp_path / "corpus.txt"))  # fmt: skip
    with pytest.raises(UserError, match="a static student learns a task alone"):
        run(job)
