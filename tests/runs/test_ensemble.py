"""Several teachers: what they say is averaged, label by label, whoever reads what pieces."""

import functools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from support.models import tiny, words
from support.runs import saved, task_file
from support.tasks import tags
from transformers import BertForSequenceClassification, BertTokenizerFast

from alembert.data.splits import Files
from alembert.io.errors import UserError
from alembert.io.files import write_json
from alembert.models.loading import load_config, load_model
from alembert.objectives.functional import soft_labels
from alembert.objectives.label_terms import SoftLabels
from alembert.objectives.layer_terms import HiddenCosine
from alembert.recipes import recipe_of
from alembert.recipes.overrides import with_settings
from alembert.runs import run
from alembert.runs.job import Job
from alembert.runs.stages import training
from alembert.runs.texts import ensemble
from alembert.runs.texts.encoded_task import encode_task
from alembert.training.distillation import Distillation
from alembert.training.logit_cache import WithTeacherLogits
from alembert.training.teacher import Teachers

NAMES = ["down", "flat", "up"]
OTHER = ["Up", "down", "flat"]  # the same, in another order and case
SHORT = {"stages.task.steps": "3", "stages.task.batch_size": "8", "stages.task.max_length": "32"}


def row(*values: float) -> np.ndarray[Any, Any]:
    return np.array([values], np.float32)


def test_classes_are_averaged_in_probability_and_then_softened() -> None:
    found = ensemble.average("classification", [row(math.log(3), 0.0), row(0.0, math.log(3))])
    assert found == pytest.approx(row(math.log(0.5), math.log(0.5)), abs=1e-6)
    found = ensemble.average("classification", [row(math.log(9), 0.0), row(5.0, 5.0)])
    assert np.exp(found) == pytest.approx(row(0.7, 0.3), abs=1e-6)  # (0.9 + 0.5) / 2
    softened = np.sqrt([0.7, 0.3]) / np.sqrt([0.7, 0.3]).sum()
    student = torch.tensor([[0.2, -0.1]])
    log_student = torch.log_softmax(student / 2, dim=-1).numpy()[0]
    expected = 4 * float((softened * (np.log(softened) - log_student)).sum())
    got = soft_labels(student, torch.from_numpy(found), 2.0)
    assert float(got) == pytest.approx(expected, rel=1e-5)


def test_several_labels_are_averaged_one_by_one_and_scores_as_they_are() -> None:
    found = ensemble.average("multilabel", [row(math.log(9), 80.0), row(0.0, 80.0)])
    assert found == pytest.approx(row(math.log(0.7 / 0.3), 80.0), abs=1e-5)
    assert ensemble.average("regression", [row(1.0), row(4.0)]) == pytest.approx(row(2.5))


def test_answers_that_were_averaged_stand_in_for_the_teachers_and_its_layers_stay_its_own() -> None:
    teacher, student = tiny("bert", "classification"), tiny("bert", "classification", seed=1)
    module = Distillation(student, teacher, (SoftLabels(), HiddenCosine()), words=False)
    batch = {**words(), "labels": torch.tensor([0, 1, 1])}

    def told(more: dict[str, torch.Tensor]) -> dict[str, float]:
        return {name: value.item() for name, value in module(batch | more)[1].items()}

    with torch.no_grad():
        own = teacher(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    live, same, other = told({}), told({"teacher_logits": own}), told({"teacher_logits": -own})
    assert same["SoftLabels"] == pytest.approx(live["SoftLabels"], rel=1e-5)
    assert other["SoftLabels"] != pytest.approx(live["SoftLabels"], rel=1e-2)
    assert live["HiddenCosine"] == same["HiddenCosine"] == other["HiddenCosine"]


def teachers(
    place: Path, tokenizer: BertTokenizerFast, head: str = "classification"
) -> tuple[str, str]:
    """Two teachers of the same labels; the second has them, and its words, in another order."""
    first = saved(place / "first", tokenizer, head, layers=4)
    turned = BertTokenizerFast(
        vocab={w: 98 - i if i > 4 else i for w, i in tokenizer.get_vocab().items()}
    )
    labels = {"id2label": dict(enumerate(OTHER)), "label2id": {n: i for i, n in enumerate(OTHER)}}
    second = saved(place / "second", turned, head, layers=4, seed=5, **labels)
    for path in (first, second):  # weights so large that the answers differ
        model = load_model(path, head)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        model.save_pretrained(path)
    return first, second


def job(tmp_path: Path, first: str, *others: str, recipe: str = "distilbert") -> Job:
    data = task_file(tmp_path / "train.csv")
    test = task_file(tmp_path / "e.csv", 12, 3)
    chosen = with_settings(recipe_of(recipe, load_config(first)), SHORT | {"run.precision": "fp32"})
    return Job(
        recipe=chosen,
        out=tmp_path / "run",
        teacher=first,
        files=Files(train=data, evaluation=test),
        more_teachers=others,
    )


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """How many texts models of four layers, the teachers here, have answered."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    counts: list[int] = []
    forward = BertForSequenceClassification.forward

    @functools.wraps(forward)
    def counted(self: Any, input_ids: Any = None, **more: Any) -> Any:
        if self.config.num_hidden_layers == 4 and len(input_ids) > 1:  # one row alone is a trial
            counts.append(len(input_ids))
        return forward(self, input_ids=input_ids, **more)

    monkeypatch.setattr(BertForSequenceClassification, "forward", counted)
    return counts


def probabilities(path: str, text: str) -> dict[str, float]:
    """What a saved teacher says of a text, by the label's name: plain transformers."""
    tokenizer = BertTokenizerFast.from_pretrained(path)
    model = BertForSequenceClassification.from_pretrained(path).eval()
    with torch.no_grad():
        said = model(**tokenizer(text, return_tensors="pt")).logits.softmax(-1)[0]
    return {model.config.id2label[i].lower(): float(p) for i, p in enumerate(said)}


def test_a_run_learns_the_average_by_name_and_says_what_it_is_worth(
    tmp_path: Path, tokenizer: BertTokenizerFast, read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[WithTeacherLogits] = []
    real = ensemble.with_average
    monkeypatch.setattr(
        ensemble, "with_average", lambda *given: kept.append(real(*given)) or kept[-1]
    )
    first, second = teachers(tmp_path, tokenizer)
    made = job(tmp_path, first, second)
    metrics = run.run(made)
    train, test = (np.loadtxt(tmp_path / f"{name}.csv", str, delimiter=",", skiprows=1)
                   for name in ("train", "e"))  # fmt: skip
    (answers,) = kept
    texts = [t for t in train[:, 0] if len(tokenizer(t).input_ids) == answers.lengths[0]]
    text = next(t for t in texts if tokenizer(t).input_ids == answers[0]["input_ids"])
    both = [probabilities(path, text) for path in (first, second)]
    expected = [(both[0][name] + both[1][name]) / 2 for name in NAMES]
    assert np.exp(answers[0]["teacher_logits"]) == pytest.approx(expected, abs=1e-4)
    right = 0
    for text, label in test:
        both = [probabilities(path, text) for path in (first, second)]
        right += max(NAMES, key=lambda name: both[0][name] + both[1][name]) == label
    assert metrics["ensemble"]["accuracy"] == pytest.approx(right / len(test))
    assert metrics["parameters"]["ensemble"] == 2 * metrics["parameters"]["teacher"]
    assert metrics["retention"] == pytest.approx(
        metrics["student"]["accuracy"] / metrics["teacher"]["accuracy"]
    )
    assert json.loads((tmp_path / "run/metrics.json").read_text()) == metrics


def test_each_teacher_reads_each_text_once_and_a_stopped_run_asks_none_again(
    tmp_path: Path, tokenizer: BertTokenizerFast, read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = teachers(tmp_path, tokenizer)
    made = job(tmp_path, first, second)
    train = training.train

    def stopped(*given: Any, **more: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        run.run(made)
    assert sum(read) == 2 * 57  # of 60 rows 3 are held out
    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(run.evaluate, "evaluate_run", lambda *_: write_json(
        tmp_path / "run/metrics.json", {}))  # fmt: skip
    run.run(made)
    assert sum(read) == 2 * 57  # the layers' states come without the head
    with pytest.raises(UserError, match=r"holds another run: arguments\.more_teachers\.0"):
        run.run(job(tmp_path, first))


def test_tags_are_averaged_piece_by_piece_by_teachers_of_one_tokenizer(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    names = ["B-work", "I-work", "O"]
    labels = {"id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}}
    data = tags(tmp_path / "t.conll")
    paths = [saved(tmp_path / f"t{seed}", tokenizer, "tokens", seed=seed, **labels)
             for seed in (1, 2)]  # fmt: skip
    recipe = with_settings(recipe_of("distilbert", load_config(paths[0])), SHORT)
    more = {"files": Files(train=data, evaluation=data), "more_teachers": (paths[1],)}
    metrics = run.run(Job(recipe=recipe, out=tmp_path / "run", teacher=paths[0], **more))
    assert {"accuracy", "span_f1"} <= metrics["ensemble"].keys()
    BertTokenizerFast(
        vocab={w: i for i, w in enumerate(reversed(list(tokenizer.get_vocab())))}
    ).save_pretrained(paths[1])
    with pytest.raises(UserError, match=r"t2: its tokenizer is not that of .*t1, and tags are"):
        run.run(Job(recipe=recipe, out=tmp_path / "again", teacher=paths[0], **more))


def test_rows_of_another_length_are_never_averaged(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    first, second = teachers(tmp_path, tokenizer)
    made = job(tmp_path, first, second)
    loaded = Teachers()
    (member,) = ensemble.members(made, encode_task(made, loaded[first], loaded), loaded)
    assert member.order == (1, 2, 0)
    assert member.task.splits is not None
    rows = member.task.splits.train
    with pytest.raises(UserError, match="reads other rows"):
        ensemble.with_average(
            WithTeacherLogits(rows.take(np.arange(1, len(rows))), []),
            member.task.splits.task,
            [member],
            Accelerator(cpu=True),
        )
