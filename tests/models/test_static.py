"""A static student: a weighted mean of vectors, by hand in plain floats; its file in int8."""

import math
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from alembert.io.errors import UserError
from alembert.models.building import checked_config, draw_model
from alembert.models.loading import load_config, load_model
from alembert.models.static.packing import quantised, unpacked

FIELDS: dict[str, object] = {
    "model_type": "static", "vocab_size": 99, "hidden_size": 2, "special_token_ids": [0, 2, 3],
    "sep_token_id": 3, "bigrams": 0,
}  # fmt: skip


def drawn(head: str = "classification", **more: object) -> PreTrainedModel:
    """A static student whose every number is random."""
    model = draw_model(checked_config(FIELDS | more), head, seed=0).eval()
    torch.manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def test_a_text_is_the_weighted_mean_of_its_tokens() -> None:
    model = drawn()
    embeddings = model.base_model.embeddings
    with torch.no_grad():
        embeddings.word_embeddings.weight[7:9] = torch.tensor([[1.0, 2.0], [3.0, -4.0]])
        embeddings.log_weights[7:9] = torch.tensor([math.log(3.0), 0.0])
    mean = torch.tensor([(3 * 1 + 3) / 4, (3 * 2 - 4) / 4])  # of 3 parts to 1
    expected = model.head.out.weight @ mean + model.head.out.bias
    ids, mask = torch.tensor([[2, 7, 8, 3, 0]]), torch.tensor([[1, 1, 1, 1, 0]])
    torch.testing.assert_close(model(input_ids=ids, attention_mask=mask).logits[0], expected)


def test_neighbours_have_a_vector_of_their_own_and_so_order_counts() -> None:
    model = drawn(bigrams=5)
    model.base_model.embeddings.list_pairs(torch.tensor([8 * 99 + 7, 3]))
    there, back = (model(input_ids=torch.tensor([row])).logits for row in
                   ([2, 7, 8, 3], [2, 8, 7, 3]))  # fmt: skip
    assert not torch.allclose(there, back)
    plain = drawn()
    there, back = (plain(input_ids=torch.tensor([row])).logits for row in
                   ([2, 7, 8, 3], [2, 8, 7, 3]))  # fmt: skip
    torch.testing.assert_close(there, back)


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("between", [[3], [3, 3]])
def test_the_head_of_pairs_reads_product_difference_and_cosine(
    between: list[int], ordered: bool
) -> None:
    model = drawn(pairs=True, ordered=ordered)
    one, other = (
        vector / vector.norm() * 2**0.5  # so that a number's size is 1
        for vector in (
            model.base_model(input_ids=torch.tensor([[2, *text, 3]])).last_hidden_state.mean(1)[0]
            for text in ([7, 8], [9, 9, 10])
        )
    )
    cosine = torch.nn.functional.cosine_similarity(one, other, dim=0)
    read = torch.cat([one * other, (one - other).abs(), cosine[None]])
    read = torch.cat([one, other, read]) if ordered else read
    expected = model.head.out.weight @ read + model.head.out.bias
    ids = torch.tensor([[2, 7, 8, *between, 9, 9, 10, 3]])
    torch.testing.assert_close(model(input_ids=ids).logits[0], expected)
    back = model(input_ids=torch.tensor([[2, 9, 9, 10, *between, 7, 8, 3]])).logits[0]
    assert torch.allclose(back, expected) != ordered


@pytest.mark.parametrize("head", ["classification", "tokens", "encoder"])
def test_padding_never_matters(head: str) -> None:
    model = drawn(head, bigrams=50)
    ids, more = torch.tensor([[2, 7, 8, 3]]), torch.tensor([[2, 7, 8, 3, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 0, 0]])
    alone, padded = model(input_ids=ids)[0], model(input_ids=more, attention_mask=mask)[0]
    if head != "classification":
        padded = padded[:, :4]
    torch.testing.assert_close(alone, padded)


def test_a_tag_is_read_from_a_window_and_no_further() -> None:
    model = drawn("tokens", window=1)
    first = model(input_ids=torch.tensor([[2, 7, 8, 9, 10, 3]])).logits[0]
    other = model(input_ids=torch.tensor([[2, 7, 8, 9, 11, 3]])).logits[0]
    torch.testing.assert_close(first[:3], other[:3])
    assert not torch.allclose(first[3], other[3])


def test_a_row_of_the_file_is_off_by_half_a_step_at_most() -> None:
    table = torch.randn(40, 16) * torch.logspace(-3, 3, 40)[:, None]
    rows, scales = quantised(table)
    error = (rows.float() * scales.float()[:, None] - table).abs()
    step = table.abs().amax(dim=1, keepdim=True) / 127
    assert rows.dtype == torch.int8
    assert bool((error <= 0.501 * step).all())


@pytest.mark.parametrize("head", ["classification", "tokens", "encoder"])
def test_what_is_saved_opens_as_what_was_saved(head: str, tmp_path: Path) -> None:
    model = drawn(head, bigrams=50, neurons=3)
    model.save_pretrained(tmp_path / "first")
    opened = load_model(str(tmp_path / "first"), head)
    opened.save_pretrained(tmp_path / "second")
    first, second = (unpacked(tmp_path / name / "model.safetensors") for name in
                     ("first", "second"))  # fmt: skip
    assert first.keys() == second.keys() == model.state_dict().keys()
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=1e-3, atol=0)
        torch.testing.assert_close(tensor, model.state_dict()[name], rtol=0.02, atol=0.02)


def test_a_head_that_the_file_lacks_is_drawn_or_refused(tmp_path: Path) -> None:
    drawn("encoder").save_pretrained(tmp_path)
    with pytest.raises(UserError, match="no classification head"):
        load_model(str(tmp_path), "classification")
    opened = load_model(str(tmp_path), "classification", labels=("a", "b", "c"), fresh_head=True)
    assert opened.config.num_labels == 3
    words = opened.base_model.embeddings.word_embeddings.weight
    torch.testing.assert_close(words, drawn("encoder").embeddings.word_embeddings.weight,
                               rtol=0.02, atol=0.02)  # fmt: skip


def test_it_has_no_layers_and_its_config_says_so(tmp_path: Path) -> None:
    drawn().save_pretrained(tmp_path)
    config = load_config(str(tmp_path))
    assert config.num_hidden_layers == 0
    assert (config.hidden_size, config.bigrams, config.pairs) == (2, 0, False)


@pytest.mark.parametrize("fields", [{"bigrams": -1}, {"neurons": 1.5}, {"window": -2}])
def test_a_shape_that_cannot_be_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(UserError, match=next(iter(fields))):
        checked_config(FIELDS | fields)
