"""Training only the word embeddings that are read: AdamW's answer, with less of everything."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from support.models import tiny
from support.stages import in_fp32
from torch import Tensor
from transformers import PreTrainedModel

from alembert.objectives.label_terms import HardLabels, SoftLabels
from alembert.recipes.schema import Stage
from alembert.training import sparse_embedding
from alembert.training.distillation import Distillation
from alembert.training.loop import train
from alembert.training.monitor import Length, Schedule

PIECES = torch.tensor([0, 1, *range(10, 45)])  # of 99; 0 and 1 pad
STEPS = 30
FIXED = Length(STEPS, STEPS)


def stage(**more: object) -> Stage:
    fields = {"name": "s", "data": "task", "steps": STEPS, "learning_rate": 3e-2, "warmup": 0.1}
    objective = (HardLabels(), SoftLabels())
    return Stage.model_validate(fields | {"weight_decay": 0.3, "objective": objective} | more)


def batches(step: int) -> dict[str, Tensor]:
    """Each step reads a few of the pieces; the first text has a padding."""
    generator = torch.Generator().manual_seed(step)
    ids = PIECES[2 + torch.randint(0, 35, (4, 6), generator=generator)]
    mask = torch.ones_like(ids)
    mask[0, 2:], ids[0, 2:] = 0, 0
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([0, 1, 1, 0])}


def trained(
    kind: str, at: Stage, folder: Path, narrow: bool
) -> tuple[PreTrainedModel, sparse_embedding.RestrictedEmbedding | None]:
    still = {"attention_dropout": 0.0, "dropout": 0.0} if kind == "distilbert" else {}
    student, teacher = tiny(kind, "classification", **still), tiny(kind, "classification", seed=1)
    table = sparse_embedding.restrict(student, PIECES) if narrow else None
    module = Distillation(student, teacher, at.objective, words=False)
    train(module, at, batches, FIXED, folder, seed=0, accelerator=in_fp32())
    return student, table


@pytest.mark.parametrize(
    ("kind", "rates"),
    [
        ("bert", ()),
        ("roberta", ()),
        ("distilbert", ((r"word_embeddings", 0.5),)),
        ("mobilebert", ()),
        ("bert", ((r"embeddings", 0.0),)),
    ],
)
def test_all_weights_are_those_of_training_all_rows(
    kind: str, rates: tuple[tuple[str, float], ...], tmp_path: Path
) -> None:
    at = stage(rates=rates)
    dense, _ = trained(kind, at, tmp_path / "dense", narrow=False)
    fewer, table = trained(kind, at, tmp_path / "fewer", narrow=True)
    assert table is not None
    assert len(table.weight) == len(PIECES)
    sparse_embedding.restore(fewer, table, Schedule(at, FIXED), STEPS)
    assert type(fewer.get_input_embeddings()) is torch.nn.Embedding
    before = tiny(kind, "classification").get_input_embeddings().weight
    moved = (fewer.get_input_embeddings().weight - before).abs().amax(dim=1)
    assert bool((moved > 0).all()) == (not rates or rates[0][1] > 0)
    expected = dict(dense.named_parameters())
    assert expected.keys() == dict(fewer.named_parameters()).keys()
    for name, parameter in fewer.named_parameters():
        torch.testing.assert_close(parameter, expected[name], atol=2e-4, rtol=2e-4, msg=name)


def test_its_checkpoint_has_the_rows_that_are_read_alone(tmp_path: Path) -> None:
    student, table = trained("bert", stage(), tmp_path, narrow=True)
    assert table is not None
    with safe_open(tmp_path / "checkpoint" / "state.safetensors", "pt") as file:
        name = "student.bert.embeddings.word_embeddings.weight"
        assert file.get_slice(f"exp_avg:{name}").get_shape() == [len(PIECES), 16]
        kept = file.get_tensor(f"parameter:{name}")
    sparse_embedding.restore(student, table, Schedule(stage(), FIXED), STEPS)
    torch.testing.assert_close(student.get_input_embeddings().weight[PIECES], kept)


def test_a_table_that_saves_little_or_is_shared_with_a_decoder_stays() -> None:
    assert sparse_embedding.restrict(tiny("bert", "classification"), torch.arange(60)) is None
    assert sparse_embedding.restrict(tiny("bert", "words"), PIECES) is None


def test_a_piece_that_was_not_announced_is_an_error_and_not_another_word() -> None:
    model = tiny("bert", "classification")
    assert sparse_embedding.restrict(model, PIECES) is not None
    with pytest.raises(IndexError):
        model(torch.tensor([[10, 50]]))


def test_pieces_are_those_of_all_texts_and_of_padding() -> None:
    texts = np.array([7, 5, 7], np.int32), np.array([9, 5], np.uint16)
    assert sparse_embedding.token_ids_in(texts, 0).tolist() == [0, 5, 7, 9]


def test_a_model_may_call_another_id_padding_than_its_tokenizer() -> None:
    model = tiny("roberta", "classification")  # pads with 1
    ids = torch.tensor([[0, 10, 20]])
    expected = model(ids).logits
    assert sparse_embedding.restrict(model, torch.tensor([0, *range(10, 45)])) is not None
    torch.testing.assert_close(model(ids).logits, expected)
