"""What a forward pass leaves behind equals what transformers computes, and nothing more is run."""

from collections import Counter

import pytest
import torch
from support.models import still, tiny, words
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.modernbert.modeling_modernbert import apply_rotary_pos_emb

from alembert.io.errors import UserError
from alembert.models import architectures
from alembert.models.architectures import anatomy, sharpness
from alembert.models.trace import Reads, trace
from alembert.objectives.label_terms import HardLabels, SoftLabels
from alembert.objectives.layer_terms import AttentionMSE, HiddenCosine
from alembert.objectives.objective import reads

ENCODERS = [
    "bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert", "mobilebert", "albert",
    "mpnet", "deberta-v2", "modernbert",
]  # fmt: skip
OUTPUT = {
    "bert": "attention.output.dense",
    "distilbert": "attention.out_lin",
    "albert": "albert_layers.0.attention.dense",
    "mpnet": "attention.attn.o",
    "deberta-v2": "attention.output.dense",
    "modernbert": "attn.Wo",
}


def calls(model: nn.Module) -> Counter[str]:
    """Counts the forward calls of every module by name, from now on."""
    seen: Counter[str] = Counter()
    for name, module in model.named_modules():
        module.register_forward_pre_hook(lambda *_, name=name: seen.update([name]))
    return seen


@pytest.mark.parametrize("kind", ENCODERS)
def test_hidden_states_equal_those_of_transformers(kind: str) -> None:
    model, batch = tiny(kind, layers=3), words()
    inputs = {k: batch[k] for k in ("input_ids", "attention_mask")}
    with torch.no_grad():
        expected = model(**inputs, output_hidden_states=True).hidden_states
        left = trace(model, batch, Reads(hidden=frozenset({0, 1, 2, 3})))
    assert sorted(left.hidden) == [0, 1, 2, 3]
    for k, hidden in left.hidden.items():
        torch.testing.assert_close(hidden, expected[k])


def attended(model: PreTrainedModel, batch: dict[str, Tensor]) -> tuple[Tensor, ...]:
    """Attention probabilities (B, A, T, T) of each layer, as transformers gives them."""
    model.set_attn_implementation("eager")
    inputs = {k: batch[k] for k in ("input_ids", "attention_mask")}
    with torch.no_grad():
        found: tuple[Tensor, ...] = model(**inputs, output_attentions=True).attentions
    return found


@pytest.mark.parametrize("kind", sorted({*ENCODERS} - {"modernbert"}))
def test_scores_give_the_attention_probabilities_of_transformers(kind: str) -> None:
    model, batch = still(tiny(kind)), words()
    expected = attended(model, batch)
    with torch.no_grad():
        left = trace(model, batch, Reads(attention=frozenset({1, 2})))
    real = batch["attention_mask"].bool()
    for k in (1, 2):
        scores = left.scores(k) * sharpness(model.config)
        found = scores.masked_fill(~real[:, None, None, :], float("-inf")).softmax(-1)
        found, wanted = (p.transpose(1, 2)[real] for p in (found, expected[k - 1]))
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_of_a_modernbert_they_do_once_its_positions_turn_them() -> None:
    model, batch = tiny("modernbert"), words()
    expected = attended(model, batch)
    with torch.no_grad():
        left = trace(model, batch, Reads(attention=frozenset({1, 2})))
        places = torch.arange(batch["input_ids"].shape[1])[None]
        cos, sin = model.base_model.rotary_emb(left.queries[1], places, "full_attention")
    hidden_keys = (batch["attention_mask"] == 0)[:, None, None, :]
    for k in (1, 2):
        queries, keys = apply_rotary_pos_emb(left.queries[k], left.keys[k], cos, sin)
        scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
        found = scores.masked_fill(hidden_keys, float("-inf")).softmax(-1)
        torch.testing.assert_close(found, expected[k - 1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", OUTPUT)
def test_values_weighed_by_the_probabilities_are_what_attention_gives(kind: str) -> None:
    model, batch = tiny(kind), words()
    expected, given = attended(model, batch), []
    for block in dict.fromkeys(architectures.layers(model, "test")):
        part = block.get_submodule(OUTPUT[kind])
        part.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    with torch.no_grad():
        left = trace(model, batch, Reads(attention=frozenset({1, 2})))
    for k in (1, 2):
        context = (expected[k - 1] @ left.values[k]).transpose(1, 2).flatten(2)
        torch.testing.assert_close(context, given[k - 1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("rows", ["all", "masked"])
@pytest.mark.parametrize("kind", ENCODERS)
def test_logits_over_words_equal_the_rows_of_the_full_logits(kind: str, rows: str) -> None:
    model, batch = tiny(kind), words()
    with torch.no_grad():
        full = model(**{k: batch[k] for k in ("input_ids", "attention_mask")}).logits
        left = trace(model, batch, Reads(vocabulary=rows))
    where = batch["attention_mask"].bool() if rows == "all" else batch["labels"] != -100
    assert left.vocabulary is not None
    torch.testing.assert_close(left.vocabulary.logits(), full[where], atol=1e-5, rtol=1e-4)
    some = batch["labels"] != -100
    torch.testing.assert_close(
        left.vocabulary.only(some).logits(), full[some], atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("kind", ENCODERS)
def test_no_layer_after_the_deepest_read_is_run_and_no_head(kind: str) -> None:
    model, batch = tiny(kind, layers=4), words()
    seen = calls(model)
    trace(model, batch, Reads(hidden=frozenset({0, 2})))
    layers = anatomy(model.config, "test").layers
    ran = [seen[f"{model.base_model_prefix}.{layers}.{k}"] for k in range(4)]
    assert ran == ([2, 0, 0, 0] if kind == "albert" else [1, 1, 0, 0])  # one layer, run twice
    outside = [n for n in seen if n and not n.startswith(model.base_model_prefix)]
    assert outside == []


def test_the_embedding_alone_runs_no_layer() -> None:
    model, batch = tiny("bert"), words()
    seen = calls(model)
    trace(model, batch, Reads(hidden=frozenset({0})))
    assert not any(".layer.0." in name for name in seen)


def test_the_decoder_over_the_vocabulary_is_never_called() -> None:
    for kind in ENCODERS:
        model, batch = tiny(kind), words()
        decoder = model.get_output_embeddings()
        ran: list[int] = []
        decoder.register_forward_hook(lambda *_, ran=ran: ran.append(1))
        trace(model, batch, Reads(vocabulary="masked"))
        assert ran == [], kind


def test_the_head_sees_only_the_rows_that_count() -> None:
    model, batch = tiny("bert"), words()
    shapes: list[torch.Size] = []
    transform = model.get_submodule("cls.predictions.transform.LayerNorm")
    transform.register_forward_hook(lambda _, __, out: shapes.append(out.shape))
    trace(model, batch, Reads(vocabulary="masked"))
    assert shapes == [torch.Size([int((batch["labels"] != -100).sum()), 16])]


def test_scores_are_made_for_the_named_layers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = (AttentionMSE(layers=((1, 2),)),)
    mine, theirs = reads(objective, 2, 4, corpus=False)
    assert (mine.attention, theirs.attention) == ({1}, {2})
    student, teacher = tiny("bert"), tiny("bert", layers=4)
    left, right = trace(student, words(), mine), trace(teacher, words(), theirs)
    assert list(left.queries) == [1]
    assert list(right.queries) == [2]
    fused: list[int] = []
    plain = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda *a, **k: (fused.append(1), plain(*a, **k))[1],
    )
    trace(teacher, words(), theirs)
    assert fused == [1, 1]  # both layers that ran kept fused attention


def test_an_objective_of_hidden_states_reads_no_logits() -> None:
    mine, theirs = reads((HiddenCosine(),), 2, 4, corpus=True)
    assert (mine.vocabulary, mine.logits, theirs.vocabulary, theirs.logits) == (
        "",
        False,
        "",
        False,
    )
    assert (mine.hidden, theirs.hidden) == ({2}, {4})


def test_the_triple_loss_reads_all_words_of_both_and_the_last_layers() -> None:
    mine, theirs = reads((SoftLabels(), HardLabels(), HiddenCosine()), 3, 6, corpus=True)
    assert (mine.vocabulary, theirs.vocabulary) == ("all", "all")
    assert (mine.hidden, theirs.hidden) == ({3}, {6})


def test_another_encoder_gives_hidden_states_and_words_by_its_own_outputs() -> None:
    model, batch = tiny("ernie"), words()
    inputs = {k: batch[k] for k in ("input_ids", "attention_mask")}
    with torch.no_grad():
        plain = model(**inputs, output_hidden_states=True)
        left = trace(model, batch, Reads(hidden=frozenset({1}), vocabulary="all"))
    torch.testing.assert_close(left.hidden[1], plain.hidden_states[1])
    assert left.vocabulary is not None
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(left.vocabulary.logits(), plain.logits[real], atol=1e-5, rtol=1e-4)


def test_attention_of_an_unknown_architecture_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="ernie"):
        trace(tiny("ernie"), words(), Reads(attention=frozenset({1})))


@pytest.mark.parametrize("more", [{"legacy": False}, {"conv_kernel_size": 3}, {"pos_att_type": []}])
def test_so_are_those_of_other_debertas(more: dict[str, object]) -> None:
    model, batch = tiny("deberta-v2", layers=3, **more), words()
    inputs = {k: batch[k] for k in ("input_ids", "attention_mask")}
    with torch.no_grad():
        plain = model(**inputs, output_hidden_states=True)
        left = trace(model, batch, Reads(hidden=frozenset({0, 1, 3}), vocabulary="all"))
    for k in (0, 1, 3):
        torch.testing.assert_close(left.hidden[k], plain.hidden_states[k])
    assert left.vocabulary is not None
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(left.vocabulary.logits(), plain.logits[real], atol=1e-5, rtol=1e-4)
