"""What makes a step fast on a CPU changes no number that it computes."""

import json
from pathlib import Path

import pytest
import torch
from models import tiny, words
from transformers import AutoModel

from alembert.attention import NAME, use_fused
from alembert.distillation import Distillation
from alembert.objective import AttentionMSE, HiddenMSE

STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def batch() -> dict[str, torch.Tensor]:
    return {k: v for k, v in words().items() if k != "labels"}


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra", "distilbert", "mobilebert"])
def test_our_attention_is_sdpa_but_for_rounding(kind: str) -> None:
    still = {"attention_dropout": 0.0, "dropout": 0.0} if kind == "distilbert" else STILL
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
