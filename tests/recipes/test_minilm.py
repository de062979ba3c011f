"""MiniLMv2: relations of one layer, whatever the widths."""

import json
from pathlib import Path

import pytest
import torch
from support.models import tiny, words
from support.runs import corpus_file, saved, shrunk, task_file
from torch import Tensor
from transformers import BertConfig, BertTokenizerFast

from alembert.data.splits import Files
from alembert.io.errors import UserError
from alembert.models.loading import load_config, load_model
from alembert.models.trace import split_heads
from alembert.objectives import attention_kl
from alembert.objectives.attention_kl import relations
from alembert.objectives.layer_terms import Relations
from alembert.recipes import recipe_of
from alembert.runs.job import Job
from alembert.runs.run import run
from alembert.training.distillation import Distillation

GOLDEN = Path(__file__).parents[1] / "golden" / "minilmv2_relation.json"


def test_the_relations_of_a_layer_are_those_of_a_published_code() -> None:
    content = json.loads(GOLDEN.read_text())
    given = {k: torch.tensor(v) for k, v in content["inputs"].items()}
    found = relations(given["student_vectors"], given["teacher_vectors"], given["attention_mask"])
    assert float(found) == pytest.approx(content["expected"]["loss"], rel=1e-5)


def test_every_text_counts_alike_and_padding_never() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 2, 4, 3), torch.randn(2, 2, 4, 5)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    apart = [
        relations(student[i : i + 1, :, :n], teacher[i : i + 1, :, :n])
        for i, n in enumerate((4, 2))
    ]
    found = relations(student, teacher, mask)
    torch.testing.assert_close(found, (apart[0] + apart[1]) / 2)


def plainly(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """The formula with every matrix whole, for autograd to go through."""
    chances = []
    for x in (student.float(), teacher.float()):
        scores = x @ x.mT / x.shape[-1] ** 0.5
        chances.append(scores.masked_fill(~mask.bool()[:, None, None], -torch.inf).softmax(-1))
    gap = torch.special.xlogy(chances[1], chances[1] / chances[0].clamp(min=1e-30)).sum(-1).mean(1)
    return ((gap * mask).sum(1) / mask.sum(1)).mean()


@pytest.mark.parametrize("block", [1, 60, 2**17])  # a head, an odd number of them, all at once
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_blocks_give_the_loss_and_the_gradient_of_the_whole(
    block: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_kl, "BLOCK", block)
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 5, 4, 3).to(dtype), torch.randn(3, 5, 4, 7).to(dtype)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
    here, there = (student.clone().requires_grad_() for _ in range(2))
    found, wanted = 3 * relations(here, teacher, mask), 3 * plainly(there, teacher, mask)
    found.backward()
    wanted.backward()
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(here.grad, there.grad)
    assert not relations(student, teacher, mask).requires_grad


def test_heads_joined_and_parted_keep_every_number_in_its_place() -> None:
    vectors = torch.arange(24.0).reshape(1, 2, 3, 4)  # 2 heads of 4, three tokens
    whole = vectors.transpose(1, 2).reshape(1, 3, 8)
    again = split_heads(vectors, 4)
    assert again.shape == (1, 4, 3, 2)
    torch.testing.assert_close(again[0, 2, 1], whole[0, 1, 4:6])


def test_a_student_with_the_teachers_own_weights_relates_its_tokens_alike() -> None:
    term = Relations(layers=((2, 2),), heads=8)
    pair = Distillation(tiny("bert").eval(), tiny("bert"), (term,), words=True)
    loss, _ = pair({k: v for k, v in words().items() if k != "labels"})
    assert loss.item() == pytest.approx(0, abs=1e-6)


def test_parts_of_a_batch_add_up_to_the_batch() -> None:
    term = Relations(layers=((2, 2),), heads=8)
    batch = {k: v for k, v in words().items() if k != "labels"}
    whole = float(term.count(batch))
    assert whole == len(batch["input_ids"])  # its mean is over texts
    pair = Distillation(tiny("bert").eval(), tiny("bert", seed=1), (term,), words=True)
    parts = [{k: v[rows] for k, v in batch.items()} for rows in (slice(0, 2), slice(2, None))]
    found = sum(pair(part, batch)[0].item() for part in parts)
    assert found == pytest.approx(pair(batch)[0].item(), rel=1e-5)


def test_relation_heads_that_do_not_divide_a_width_are_refused() -> None:
    term = Relations(layers=((2, 2),), heads=5)
    with pytest.raises(UserError, match="heads=N with N one of"):
        Distillation(tiny("bert"), tiny("bert"), (term,), words=True)


def test_the_layer_that_teaches_is_that_of_the_paper() -> None:
    for depth, taught in ((12, 12), (24, 21)):
        recipe = recipe_of("minilm", BertConfig(num_hidden_layers=depth), layers=6)
        (term,) = recipe.stages[0].objective
        assert term.layers == ((6, taught),)
        assert term.heads == 48


def test_the_recipe_runs_from_corpus_to_task(tmp_path: Path, tokenizer: BertTokenizerFast) -> None:
    teacher = saved(tmp_path / "teacher", tokenizer, "classification", layers=4)
    recipe = shrunk(recipe_of("minilm", load_config(teacher), hidden_size=8))
    files = Files(
        train=task_file(tmp_path / "train.csv"),
        valid=None,
        evaluation=task_file(tmp_path / "test.csv", 12, 1),
    )
    job = Job(
        recipe=recipe,
        out=tmp_path / "run",
        teacher=teacher,
        corpus=corpus_file(tmp_path / "c.txt"),
        files=files,
    )
    assert "retention" in run(job)
    student = load_model(str(job.result), "classification")
    assert (student.config.hidden_size, student.config.num_hidden_layers) == (8, 2)
