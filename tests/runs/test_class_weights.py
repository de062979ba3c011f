"""Class weights: the mean is weighted, whatever the parts of a batch; wrong ones are named."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from sklearn.utils.class_weight import compute_class_weight
from support.models import tiny
from support.runs import saved, task_file
from support.stages import CALM, stage, trained
from support.tasks import several, tags
from transformers import BertTokenizerFast

from alembert.data.splits import Files, Splits, prepare
from alembert.data.tasks import Task
from alembert.io.errors import UserError
from alembert.models.loading import load_config
from alembert.objectives.label_terms import HardLabels
from alembert.recipes.finetune import finetune
from alembert.recipes.overrides import with_settings
from alembert.recipes.schema import Stage, from_yaml, to_yaml
from alembert.runs.job import Job
from alembert.runs.run import run
from alembert.runs.texts.class_weights import balanced, describe, with_class_weights
from alembert.training.distillation import Distillation

NAMES = ("down", "flat", "up")


@pytest.fixture
def splits(tmp_path: Path, tokenizer: BertTokenizerFast) -> Splits:
    return prepare(Files(train=task_file(tmp_path / "train.csv")), tokenizer, 32, NAMES, 0)


def asks(weights: object) -> Stage:
    return stage((HardLabels.model_validate({"class_weights": weights}),))


def given(at: Stage) -> object:
    (term,) = at.objective
    assert isinstance(term, HardLabels)
    return term.class_weights


def test_the_weighted_mean_is_pytorchs_whatever_the_scale_of_the_weights() -> None:
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    labels, weights = torch.tensor([0, 2, -100, 1, 1, 0]), torch.tensor([0.02, 0.05, 0.003])
    model = tiny("bert", "classification", id2label=dict(enumerate(NAMES)))
    model.forward = lambda **_: type("Said", (), {"logits": logits})()  # type: ignore[method-assign]
    term = HardLabels(class_weights=tuple(weights.tolist()))
    ids = torch.full((6, 4), 9)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    loss, _ = Distillation(model, None, (term,), words=False)(batch)
    torch.testing.assert_close(loss, F.cross_entropy(logits, labels, weight=weights))
    part = {name: rows[:3] for name, rows in batch.items()}
    share = term.count(part) / term.count(batch)
    torch.testing.assert_close(share, torch.tensor((0.02 + 0.003) / (0.04 + 0.003 + 0.1)))


@pytest.mark.parametrize("size", [1, 3])
def test_micro_batches_of_weighed_classes_change_nothing_but_memory(
    size: int, tmp_path: Path
) -> None:
    ends = []
    for micro in (None, size):
        at = stage((HardLabels(class_weights=(9.0, 0.5)),), micro_batch_size=micro, epsilon=1.0)
        student = tiny("bert", "classification", **CALM)
        trained(student, at, tmp_path / f"{micro}")
        ends.append(torch.cat([p.detach().flatten() for p in student.parameters()]))
    before = torch.cat([p.flatten() for p in tiny("bert", "classification").parameters()])
    assert (ends[0] - ends[1]).abs().max() < 1e-3 * (ends[0] - before).abs().max()


def test_balanced_is_scikit_learns() -> None:
    labels = np.array([0] * 7 + [1] * 2 + [2] * 5 + [-100] * 4)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels[labels >= 0])
    assert balanced(labels, 3) == pytest.approx(tuple(expected))
    assert balanced(np.array([0, 0, 2]), 3) == pytest.approx((0.75, 1.0, 1.5))  # none of class 1


def test_names_become_ids_and_balanced_counts_train(splits: Splits) -> None:
    assert given(with_class_weights(asks({"up": 2, "down": 1, "flat": 0.5}), splits)) == (
        1.0,
        0.5,
        2.0,
    )
    found = given(with_class_weights(asks("balanced"), splits))
    counts = np.bincount(splits.train.labels)
    assert found == pytest.approx(tuple(len(splits.train) / (3 * counts)))
    assert with_class_weights(asks(None), splits) == asks(None)
    line = describe(with_class_weights(asks([1, 2, 0.25]), splits), splits)
    assert line == "class weights: down 1, flat 2, up 0.25"


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ({"up": 1, "sideways": 2}, "'sideways' is none of the classes, down, flat, up"),
        ({"up": 1, "down": 2}, "class 'flat' has no weight"),
        ([1, 2], "2 weights and 3 classes"),
    ],
)
def test_weights_that_fit_no_class_are_named(splits: Splits, weights: object, says: str) -> None:
    with pytest.raises(UserError, match=f"stage 's': HardLabels.class_weights: .*{says}"):
        with_class_weights(asks(weights), splits)


def test_data_without_classes_has_no_class_weights(
    splits: Splits, tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    other = prepare(Files(train=several(tmp_path / "m.jsonl")), tokenizer, 32, None, 0)
    with pytest.raises(UserError, match="this is multilabel"):
        with_class_weights(asks("balanced"), other)
    words = with_settings(
        finetune(tiny("bert").config), {"stages.*.objective.HardLabels.class_weights": "balanced"}
    )
    with pytest.raises(UserError, match="a corpus has no classes"):
        with_class_weights(words.stages[0], splits)
    for wrong in ("evenly", {"up": 0}, [-1.0]):
        with pytest.raises(ValidationError):
            asks(wrong)


def test_tags_are_weighed_word_by_word(tmp_path: Path, tokenizer: BertTokenizerFast) -> None:
    found = prepare(Files(train=tags(tmp_path / "t.conll")), tokenizer, 32, None, 0)
    known = found.train.labels[found.train.labels >= 0]
    weights = given(with_class_weights(asks("balanced"), found))
    assert weights == pytest.approx(
        tuple(compute_class_weight("balanced", classes=np.arange(3), y=known))
    )
    assert replace(found.task, labels=NAMES) == Task("tokens", NAMES, "span_f1", False)


def test_a_run_keeps_the_recipe_as_it_was_asked_and_says_the_weights(
    news: list[str], tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    body = saved(tmp_path / "body", tokenizer)
    rare = Path(task_file(tmp_path / "train.csv", rows=90))
    lines = rare.read_text().splitlines()
    kept = [row for i, row in enumerate(lines) if i == 0 or not row.endswith("up") or i < 30]
    rare.write_text("\n".join(kept) + "\n")
    setting = "stages.task.objective.HardLabels.class_weights"
    settings = {setting: "balanced", "stages.*.steps": "2", "stages.*.max_length": "32"}
    recipe = with_settings(finetune(load_config(body)), settings)
    run(
        Job(
            recipe=recipe,
            out=tmp_path / "run",
            student=body,
            files=Files(train=str(rare)),
            model_at=".",
        )
    )
    assert from_yaml(tmp_path / "run/recipe.yaml") == recipe
    (line,) = (line for line in news if line.startswith("class weights: "))
    assert line.endswith("up 2.44")  # 66 rows, of which 9 are up: 66 / (3 * 9)
    by_name = with_settings(recipe, {setting: "{down: 1, flat: 1, up: 3.5}"})
    (tmp_path / "r.yaml").write_text(to_yaml(by_name))
    assert from_yaml(tmp_path / "r.yaml") == by_name
