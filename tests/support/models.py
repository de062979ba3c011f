"""Tiny models for tests: 2 layers and 99 words unless told otherwise."""

from typing import Any

import torch
from transformers import AutoConfig, PreTrainedModel

from alembert.models.loading import HEADS

SMALL = {"vocab_size": 99, "hidden_size": 16, "num_attention_heads": 4, "intermediate_size": 32}
FIELDS: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": {"type_vocab_size": 1, "pad_token_id": 1, "max_position_embeddings": 66},
    "xlm-roberta": {"type_vocab_size": 1, "pad_token_id": 1, "max_position_embeddings": 66},
    "camembert": {"type_vocab_size": 1, "pad_token_id": 1, "max_position_embeddings": 66},
    "mpnet": {"pad_token_id": 1, "max_position_embeddings": 66},
    "albert": {"embedding_size": 8},
    "deberta-v2": {  # as DeBERTa-v3 is
        "relative_attention": True,
        "position_buckets": 8,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": "p2c|c2p",
        "position_biased_input": False,
        "type_vocab_size": 0,
    },
    "electra": {"embedding_size": 16},
    "distilbert": {},
    "modernbert": {
        "pad_token_id": 1,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "cls_token_id": 2,
        "sep_token_id": 3,
        "global_attn_every_n_layers": 1,
        "local_attention": 8,
    },
    "mobilebert": {"true_hidden_size": 8, "intra_bottleneck_size": 8, "embedding_size": 8},
}


def tiny(
    kind: str, head: str = "words", layers: int = 2, seed: int = 0, std: float = 0.3, **more: Any
) -> PreTrainedModel:
    """A randomly drawn model with weights large enough that layers differ; std 0: as usual."""
    fields = SMALL | {"max_position_embeddings": 64, "num_hidden_layers": layers}
    fields |= FIELDS.get(kind, {}) | more
    if kind == "distilbert":
        fields["hidden_dim"] = fields.pop("intermediate_size")
        fields["dim"] = fields.pop("hidden_size")
        fields["n_heads"] = fields.pop("num_attention_heads")
        fields["n_layers"] = fields.pop("num_hidden_layers")
    if kind == "mobilebert":
        fields["hidden_size"] = 16
    torch.manual_seed(seed)
    model: PreTrainedModel = HEADS[head].from_config(AutoConfig.for_model(kind, **fields))
    for parameter in model.parameters() if std else ():
        torch.nn.init.normal_(parameter, std=std)
    return model.eval()


def still(model: PreTrainedModel) -> PreTrainedModel:
    """A model whose attention no longer knows how far apart two tokens are (MPNet, DeBERTa)."""
    for name, parameter in model.named_parameters():
        biases = ("query_proj.bias", "key_proj.bias")  # DeBERTa's positions go through them too
        if "rel" in name or name.endswith(("encoder.LayerNorm.bias", *biases)):
            torch.nn.init.zeros_(parameter)
    return model


def words(batch: int = 3, tokens: int = 7, seed: int = 0) -> dict[str, torch.Tensor]:
    """A ragged batch of masked text: padding is 1, so that RoBERTa counts positions right."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, 99, (batch, tokens), generator=generator)
    mask = torch.ones(batch, tokens, dtype=torch.long)
    for row in range(1, batch):
        mask[row, tokens - row :] = 0
    labels = torch.where(torch.rand(batch, tokens, generator=generator) < 0.4, ids, -100)
    labels = torch.where(mask.bool(), labels, -100)
    labels[0, 1] = ids[0, 1]
    return {"input_ids": torch.where(mask.bool(), ids, 1), "attention_mask": mask, "labels": labels}
