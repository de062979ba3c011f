"""How rows are batched never shows in what is predicted, of texts or of masked words."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForTokenClassification,
    BertTokenizerFast,
    DistilBertConfig,
    DistilBertForSequenceClassification,
)

from alembert.data.collate import Masking, pad
from alembert.data.corpus.corpus import Corpus, read_corpus
from alembert.data.encoded import Encoded
from alembert.data.labels import Columns
from alembert.data.tasks import Task, encode
from alembert.evaluation.predict import evaluate_masked_words, predict

SMALL = {"vocab_size": 99, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16}
SMALL |= {"intermediate_size": 32, "max_position_embeddings": 64}
BINARY = Task("classification", ("neg", "pos"), "accuracy", pair=False)


class Echo(nn.Module):
    """Says of each row its first token and how many tokens it was shown, padding included."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.seen: list[Tensor] = []

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        assert not self.training
        assert not torch.is_grad_enabled()
        self.seen.append(attention_mask)
        said = torch.stack([input_ids[:, 0], attention_mask.sum(1)], 1) * self.weight
        return SimpleNamespace(logits=said.to(torch.bfloat16))


def test_predictions_come_in_the_order_of_the_rows() -> None:
    lengths = [3, 1, 7, 2, 7, 5]
    starts = np.cumsum([0, *lengths[:-1]])
    data = Encoded(
        input_ids=np.arange(25, dtype=np.int32),
        lengths=lengths,
        labels=np.zeros(6),
        token_type_ids=np.zeros(25, np.int8),
    )
    model = Echo().train()
    said = predict(model, data, pad_token_id=0, batch_size=2)
    assert isinstance(said, np.ndarray)
    assert said.dtype == np.float32
    assert said.tolist() == [[s, n] for s, n in zip(starts, lengths, strict=True)]
    assert model.training
    # rows of similar length share a batch: 7 + 7, 5 + 3, 2 + 1
    assert [mask.shape for mask in model.seen] == [(2, 7), (2, 5), (2, 2)]


def test_the_size_of_a_batch_never_shows_in_predictions(tokenizer: BertTokenizerFast) -> None:
    texts = ["the good film", "bad", "play music in the very good book of tables", "a b"]
    rows = Dataset.from_dict({"text": texts})
    data = encode(rows, BINARY, Columns("text", None, None), tokenizer, 32, "d", labelled=False)
    config = DistilBertConfig(vocab_size=99, dim=16, n_heads=2, n_layers=2, hidden_dim=32)
    torch.manual_seed(0)
    model = DistilBertForSequenceClassification(config)  # reads no token_type_ids
    alone, together = (predict(model, data, 0, batch_size=size) for size in (1, 4))
    assert np.allclose(alone, together, atol=1e-6)
    words = Dataset.from_dict({"tokens": [text.split() for text in texts]})
    task = Task("tokens", ("O", "B-x"), "span_f1", pair=False)
    data = encode(words, task, Columns("tokens", None, None), tokenizer, 32, "d", labelled=False)
    tagger = BertForTokenClassification(BertConfig(**SMALL))
    alone, together = (predict(tagger, data, 0, batch_size=size) for size in (1, 4))
    assert [row.shape for row in alone] == [(length, 2) for length in data.lengths]
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(alone, together, strict=True))


@pytest.fixture
def corpus(tmp_path: Any, tokenizer: BertTokenizerFast) -> Corpus:
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join("a b c d e f g h i j k l m n"[: 20 + i % 8] for i in range(40)))
    return read_corpus(str(text), tokenizer, 16, tmp_path / "cache")


def test_masked_words_are_judged_as_with_all_logits(corpus: Corpus) -> None:
    torch.manual_seed(0)
    model = BertForMaskedLM(BertConfig(**SMALL)).train()
    masking = Masking(mask_token_id=4, vocab_size=99, special_ids=(0, 1, 2, 3, 4), share=0.3)
    found = evaluate_masked_words(model, corpus, masking, 0, sequences=40, batch_size=40)
    assert model.training
    assert not model.bert._forward_hooks
    order = sorted(np.random.default_rng(0).permutation(40), key=lambda i: corpus.lengths[i])
    batch = masking(pad([corpus[i] for i in order], 0), torch.Generator().manual_seed(0))
    with torch.no_grad():
        output = model.eval()(batch["input_ids"], batch["attention_mask"]).logits
    loss = nn.functional.cross_entropy(output.flatten(0, 1), batch["labels"].flatten())
    drawn = batch["labels"] != -100
    assert found["perplexity"] == pytest.approx(math.exp(loss.item()), rel=1e-4)
    right = output.argmax(2)[drawn] == batch["labels"][drawn]
    assert found["top1"] == pytest.approx(right.float().mean().item())
    assert found["tokens"] == drawn.sum().item()


def test_a_model_that_knows_nothing_is_as_perplexed_as_there_are_words(corpus: Corpus) -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(99))

        def forward(self, input_ids: Tensor) -> SimpleNamespace:
            return SimpleNamespace(logits=self.weight.expand(*input_ids.shape, 99))

    found = evaluate_masked_words(
        Flat(),
        corpus,
        Masking(mask_token_id=4, vocab_size=99, special_ids=(0, 1, 2, 3, 4)),
        0,
        sequences=5,
    )
    assert found["perplexity"] == pytest.approx(99, rel=1e-5)
    assert found["top1"] == 0
