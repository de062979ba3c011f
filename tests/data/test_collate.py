"""Batches are plans of a seed; padding and hidden words leave everything else as it was."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from alembert.data.collate import Masking, pad, plan
from alembert.io.errors import UserError

LENGTHS = st.lists(st.integers(1, 200), max_size=300)
SPECIAL = (0, 1, 2, 3, 4)  # [PAD] [UNK] [CLS] [SEP] [MASK]


def masking(**more: Any) -> Masking:
    return Masking(mask_token_id=4, vocab_size=99, special_ids=SPECIAL, **more)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sentences(lengths: list[int], seed: int = 0) -> dict[str, Tensor]:
    """[CLS] words [SEP], `lengths` words each."""
    words = torch.randint(5, 99, (sum(lengths),), generator=seeded(seed)).split(lengths)
    return pad([{"input_ids": [2, *row.tolist(), 3]} for row in words], pad_token_id=0)


@given(LENGTHS, st.integers(1, 40), st.integers(0, 9), st.integers(0, 9))
def test_a_plan_has_every_row_once_in_batches_of_the_size(
    lengths: list[int], size: int, seed: int, epoch: int
) -> None:
    batches = [*plan(lengths, size, seed, epoch)]
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(len(batch) == size for batch in batches[:-1])
    assert len(batches) == math.ceil(len(lengths) / size)
    assert batches == [*plan(lengths, size, seed, epoch)]


def test_a_plan_changes_with_seed_and_epoch() -> None:
    lengths = [1, 2, 3, 4] * 50
    assert [*plan(lengths, 4, 0, 0)] != [*plan(lengths, 4, 0, 1)]
    assert [*plan(lengths, 4, 0, 1)] != [*plan(lengths, 4, 1, 0)]


def test_rows_of_similar_length_share_a_batch_and_batches_come_in_any_order() -> None:
    lengths = torch.randint(5, 128, (20_000,), generator=seeded()).tolist()
    batches = [*plan(lengths, 32, seed=0, epoch=0)]
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    assert padded < 1.05 * sum(lengths)
    longest = torch.tensor([max(lengths[i] for i in batch) for batch in batches]).float()
    assert abs(torch.corrcoef(torch.stack([longest[:-1], longest[1:]]))[0, 1]) < 0.15


def test_a_plan_is_a_few_bytes_a_row() -> None:
    found = plan(np.ones(100_000, np.int32), 8, 0, 0)
    assert found.order.nbytes + found.places.nbytes == 100_000 * 4 + 12_500 * 8


def test_a_batch_of_none_is_refused() -> None:
    with pytest.raises(UserError, match="batch size 0: must be at least 1"):
        plan([1, 2], 0, 0, 0)


def test_padding_fills_up_on_the_right() -> None:
    rows = [
        {"input_ids": [2, 9, 3], "token_type_ids": [0, 0, 1], "labels": [-100, 7, -100]},
        {"input_ids": [2, 3], "token_type_ids": [0, 1], "labels": [-100, 8]},
    ]
    batch = pad(rows, pad_token_id=6, multiple=4)
    assert {key: tensor.tolist() for key, tensor in batch.items()} == {
        "input_ids": [[2, 9, 3, 6], [2, 3, 6, 6]],
        "attention_mask": [[1, 1, 1, 0], [1, 1, 0, 0]],
        "token_type_ids": [[0, 0, 1, 0], [0, 1, 0, 0]],
        "labels": [[-100, 7, -100, -100], [-100, 8, -100, -100]],
    }
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


@pytest.mark.parametrize(
    ("label", "shape", "dtype"),
    [
        (3, (2,), torch.int64),
        (0.5, (2,), torch.float32),
        (math.nan, (2,), torch.float32),
        ([0.0, 1.0, 1.0], (2, 3), torch.float32),
        ([5], (2, 1), torch.int64),
    ],
)
def test_labels_keep_their_kind(label: object, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    labels = pad([{"input_ids": [2], "labels": label}] * 2, 0)["labels"]
    assert (labels.shape, labels.dtype) == (shape, dtype)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=20), st.integers(1, 16))
def test_padding_keeps_every_row(lengths: list[int], multiple: int) -> None:
    rows = [{"input_ids": list(range(5, 5 + length))} for length in lengths]
    batch = pad(rows, 0, multiple)
    assert batch["input_ids"].shape[1] % multiple == 0
    assert batch["attention_mask"].sum(1).tolist() == lengths
    kept = [ids[mask.bool()].tolist() for ids, mask in zip(*batch.values(), strict=True)]
    assert kept == [row["input_ids"] for row in rows]


@settings(max_examples=50)
@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=8),
    st.sampled_from([0.15, 0.5, 1.0]),
    st.integers(0, 1000),
    st.booleans(),
)
def test_hidden_words_are_counted_and_leave_the_rest_alone(
    lengths: list[int], share: float, seed: int, weighted: bool
) -> None:
    batch = sentences(lengths)
    before = {key: tensor.clone() for key, tensor in batch.items()}
    weights = torch.linspace(0.1, 1, 99) if weighted else None
    found = masking(share=share, weights=weights)(batch, seeded(seed))
    assert all(torch.equal(batch[key], before[key]) for key in before)
    ids, labels = before["input_ids"], found["labels"]
    drawn = labels != -100
    tokens = sum(lengths) + 2 * len(lengths)  # [CLS] and [SEP] count
    assert drawn.sum() == min(math.ceil(share * tokens), sum(lengths))
    assert torch.equal(labels[drawn], ids[drawn])
    assert torch.equal(found["input_ids"][~drawn], ids[~drawn])
    assert not (ids[drawn] < 5).any()  # no special token, no padding
    again = masking(share=share, weights=weights)(batch, seeded(seed))
    assert torch.equal(again["input_ids"], found["input_ids"])


def test_hidden_words_are_masked_swapped_or_kept_as_8_to_1_to_1() -> None:
    batch = sentences([1000] * 100)
    found = masking(share=0.5)(batch, seeded())
    drawn = found["labels"] != -100
    now, was = found["input_ids"][drawn], batch["input_ids"][drawn]
    masked = (now == 4).float().mean().item()
    kept = (now == was).float().mean().item()
    # one swap in 99 hits the word itself, one in 99 the mask
    assert masked == pytest.approx(0.8 + 0.1 / 99, abs=0.01)
    assert kept == pytest.approx(0.1 + 0.1 / 99, abs=0.01)
    assert set(now.tolist()) == set(range(99))
    assert (
        masking(replace=(0.0, 0.0, 1.0))(batch, seeded())["input_ids"] == batch["input_ids"]
    ).all()


def test_words_of_more_weight_are_hidden_more_often() -> None:
    weights = torch.ones(99)
    weights[:50] = 0.25
    batch = sentences([1000] * 100)
    labels = masking(share=0.01, weights=weights)(batch, seeded())["labels"]
    ids = batch["input_ids"]
    light = (ids[labels != -100] < 50).float().mean().item()
    # 45 words of weight 1/4 beside 49 of weight 1; 1 % drawn hardly changes what is left
    assert light == pytest.approx(45 * 0.25 / (45 * 0.25 + 49), abs=0.03)


def test_words_of_no_weight_are_never_hidden() -> None:
    weights = torch.zeros(99)
    weights[7] = 1
    batch = pad([{"input_ids": [2, 7, 8, 9, 3]}], 0)
    found = masking(share=1.0, weights=weights)(batch, seeded())
    assert found["labels"].tolist() == [[-100, 7, -100, -100, -100]]


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("share", 0.0, "masking share 0.0"),
        ("share", 1.5, "masking share 1.5"),
        ("replace", (0.8, 0.1, 0.2), "three shares that add up to 1"),
        ("weights", torch.ones(98), "one for each of 99 tokens"),
    ],
)
def test_masking_that_cannot_work_is_refused(field: str, value: object, says: str) -> None:
    with pytest.raises(UserError, match=says):
        masking(**{field: value})
