"""What makes a step fast on a CPU changes no number that it computes."""

import json
from pathlib import Path

import pytest
import torch
from support.models import tiny, words
from support.stages import CALM
from transformers import AutoModel

from alembert.models import cpu_attention
from alembert.models.cpu_attention import NAME, use_fused
from alembert.objectives.layer_terms import AttentionMSE, HiddenMSE
from alembert.training.distillation import Distillation


def batch() -> dict[str, torch.Tensor]:
    return {k: v for k, v in words().items() if k != "labels"}


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra", "distilbert", "mobilebert"])
def test_our_attention_is_sdpa_but_for_rounding(kind: str) -> None:
    still = {"attention_dropout": 0.0, "dropout": 0.0} if kind == "distilbert" else CALM
    found = []
    for ours in (False, True):
        model = tiny(kind, "encoder", std=0.1, **still).train()
        if ours:
            use_fused(model)
            assert model.config._attn_implementation == NAME
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = model(**batch()).last_hidden_state[batch()["attention_mask"].bool()]
        hidden.float().square().mean().backward()
        first = next(p for n, p in model.named_parameters() if "word_embeddings" in n)
        found.append((hidden.detach().float(), first.grad))
    torch.testing.assert_close(found[0][0], found[1][0], atol=0.03, rtol=0.03)
    one, two = (gradient.flatten() for _, gradient in found)
    assert torch.nn.functional.cosine_similarity(one, two, dim=0) > 0.99


def test_a_saved_model_knows_nothing_of_it(tmp_path: Path) -> None:
    model = tiny("bert", "encoder")
    use_fused(model)
    model.save_pretrained(tmp_path)
    assert NAME not in (tmp_path / "config.json").read_text()
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "bert"
    assert AutoModel.from_pretrained(tmp_path).config._attn_implementation == "sdpa"


def test_other_implementations_of_attention_stay_as_they_are() -> None:
    model = tiny("bert", "encoder")
    model.set_attn_implementation("eager")
    use_fused(model)
    assert model.config._attn_implementation == "eager"


def test_a_teacher_in_halves_gives_the_loss_that_autocast_gives() -> None:
    objective = (HiddenMSE(), AttentionMSE())
    values = []
    for half in (False, True):
        module = Distillation(tiny("bert"), tiny("bert", seed=1), objective, words=True).eval()
        if half:
            module.ready(torch.device("cpu"), True)
            assert module.teacher is not None
            layer = module.teacher.base_model.encoder.layer[0]
            assert layer.intermediate.dense.weight.dtype == torch.bfloat16
            assert layer.output.LayerNorm.weight.dtype == torch.float32
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
            values.append(module(batch())[0].item())
    assert values[0] == values[1]


@pytest.mark.parametrize("masked", [False, True])
def test_attention_with_dropout_is_the_plain_formula_with_the_same_words_left(
    masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_attention, "BLOCK", 4 * 9 * 9)  # of three texts one at a time
    torch.manual_seed(0)
    made = [torch.randn(3, 9, 4, 8).bfloat16().transpose(1, 2).requires_grad_() for _ in range(3)]
    mask = torch.ones(3, 1, 9, 9, dtype=torch.bool)
    mask[0, :, :, 6:], mask[2, :, :, 2:] = False, False
    upstream = torch.randn(3, 9, 4, 8)
    module = torch.nn.Module()
    module.is_causal = False  # type: ignore[assignment]
    torch.manual_seed(7)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = cpu_attention._attention(module, *made, mask if masked else None, dropout=0.25)
    (found.float() * upstream).sum().backward()
    torch.manual_seed(7)
    keep = cpu_attention._keep_mask(torch.Size((3, 4, 9, 9)), 0.25)
    exact = [part.detach().double().requires_grad_() for part in made]
    query, key, value = exact
    scores = query @ key.mT / 8**0.5
    weights = torch.where(mask, scores, -torch.inf) if masked else scores
    expected = ((weights.softmax(-1) * keep / 0.75) @ value).transpose(1, 2)
    (expected * upstream).sum().backward()
    for mine, theirs in (
        (found, expected),
        *((a.grad, b.grad) for a, b in zip(made, exact, strict=True)),
    ):
        assert (mine.double() - theirs).norm() < 0.01 * theirs.norm()


def test_dropout_keeps_its_share_and_draws_every_value_apart() -> None:
    torch.manual_seed(0)
    keep = cpu_attention._keep_mask(torch.Size((1001, 1001)), 0.1).float()
    assert float(keep.mean()) == pytest.approx(0.9, abs=0.002)  # 6 standard errors
    one, two = keep[:, :-1].flatten(), keep[:, 1:].flatten()
    assert float((one * two).mean()) == pytest.approx(0.81, abs=0.003)
    assert float(
        cpu_attention._keep_mask(torch.Size((1000, 1000)), 0.5).float().mean()
    ) == pytest.approx(0.5, abs=0.004)
