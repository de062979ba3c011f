"""The loss of next sentences: how it starts, what it learns and where it is refused."""

import math
from pathlib import Path

import pytest
import torch
from support.models import tiny
from support.runs import saved, task_file
from transformers import BertTokenizerFast

from alembert.data.splits import Files
from alembert.io.errors import UserError
from alembert.models.loading import load_config
from alembert.objectives.label_terms import NextSentence
from alembert.recipes.finetune import finetune
from alembert.recipes.overrides import with_settings
from alembert.runs.job import Job
from alembert.runs.run import run
from alembert.training.distillation import Distillation


def batch_of() -> dict[str, torch.Tensor]:
    """Pairs whose second segment begins with a token that tells whether it goes on."""
    ids = torch.randint(20, 99, (32, 8), generator=torch.Generator().manual_seed(0))
    labels = torch.arange(32) % 2
    ids[:, 4] = 10 + labels
    types = torch.tensor([[0] * 4 + [1] * 4] * 32)
    return {
        "input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": types,
        "next_sentence": labels,
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["mobilebert", "bert"])
def test_it_starts_at_ln_2_and_is_learnt(kind: str) -> None:
    torch.manual_seed(0)
    student = tiny(kind, "words")
    distillation = Distillation(student, None, (NextSentence(weight=2.0),), words=True)
    batch = batch_of()
    total, values = distillation(batch)
    assert values["NextSentence"].item() == pytest.approx(math.log(2), abs=1e-6)
    assert total.item() == pytest.approx(2 * math.log(2), abs=1e-6)
    optimizer = torch.optim.Adam(distillation.parameters(), lr=1e-3)
    for _ in range(150):
        optimizer.zero_grad()
        distillation(batch)[0].backward()
        optimizer.step()
    assert distillation(batch)[0].item() < 0.5
    assert not any("next_sentence" in name for name in student.state_dict())


def test_parts_of_a_batch_add_up_to_it() -> None:
    distillation = Distillation(tiny("bert", "words"), None, (NextSentence(),), words=True)
    assert distillation.next_sentence is not None
    torch.nn.init.normal_(distillation.next_sentence.weight)
    batch = batch_of()
    parts = [{k: v[a:b] for k, v in batch.items()} for a, b in ((0, 5), (5, 32))]
    distillation.eval()
    whole = distillation(batch)[0]
    assert sum(distillation(part, batch)[0] for part in parts).item() == pytest.approx(whole.item())


def test_it_is_refused_on_a_task_before_anything_is_trained(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    body = saved(tmp_path / "body", tokenizer)
    settings = {"stages.task.objective": "[{kind: NextSentence}, {kind: HardLabels}]"}
    recipe = with_settings(finetune(load_config(body)), settings)
    files = Files(train=task_file(tmp_path / "train.csv"))
    with pytest.raises(UserError, match="'task': NextSentence is for a stage on a corpus, whose"):
        run(Job(recipe=recipe, out=tmp_path / "run", student=body, files=files))
    assert not (tmp_path / "run").exists()
