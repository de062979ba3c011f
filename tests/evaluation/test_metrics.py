"""Metrics are those worked out by hand; how rows are batched never shows in them."""

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
from alembert.data.tasks import Columns, Task, encode
from alembert.evaluation.metrics import metrics
from alembert.evaluation.predict import evaluate_masked_words, predict
from alembert.io.errors import UserError

SMALL = {"vocab_size": 99, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16}
SMALL |= {"intermediate_size": 32, "max_position_embeddings": 64}
BINARY = Task("classification", ("neg", "pos"), "accuracy", pair=False)


def encoded(labels: Any, per_token: bool = False) -> Encoded:
    """Rows of one token (or, per token, one row of all) that bear these labels."""
    values = np.array(labels)
    lengths = [len(values)] if per_token else [1] * len(values)
    return Encoded(np.ones(len(values), np.int32), lengths, values, per_token=per_token)


def logits(said: list[int], classes: int = 2) -> np.ndarray[Any, Any]:
    return np.eye(classes, dtype=np.float32)[said]


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
    data = Encoded(np.arange(25, dtype=np.int32), lengths, np.zeros(6), np.zeros(25, np.int8))
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


def test_classes_are_judged_as_by_hand() -> None:
    # positives: 2 found of 3, 1 false alarm; the last row has no label
    data = encoded([1, 1, 1, 0, 0, -100])
    found = metrics(BINARY, logits([1, 1, 0, 1, 0, 1]), data)
    assert next(iter(found)) == "accuracy"
    positive = 2 * 2 / (2 * 2 + 1 + 1)
    negative = 2 * 1 / (2 * 1 + 1 + 1)
    assert found == pytest.approx(
        {
            "accuracy": 3 / 5,
            "f1": positive,
            "macro_f1": (positive + negative) / 2,
            "matthews": (2 * 1 - 1 * 1) / math.sqrt(3 * 3 * 2 * 2),
        }
    )


def test_the_positive_class_is_the_second_or_the_one_without_not() -> None:
    said, data = logits([1, 1, 0, 1, 0]), encoded([1, 1, 1, 0, 0])
    for labels, expected in (
        (("a", "b"), 2 / 3),
        (("not_equivalent", "equivalent"), 2 / 3),
        (("equivalent", "not_equivalent"), 1 / 2),
    ):
        task = Task("classification", labels, "f1", pair=True)
        assert metrics(task, said, data)["f1"] == pytest.approx(expected)
        assert next(iter(metrics(task, said, data))) == "f1"


def test_scores_are_judged_as_by_hand() -> None:
    task = Task("regression", ("score",), "pearson", pair=True)
    said = np.array([[1.0], [2.0], [4.0], [9.0]], np.float32)
    data = encoded([1.0, 3.0, 2.0, math.nan])
    # deviations -4/3 -1/3 5/3 and -1 1 0; ranks 1 2 3 and 1 3 2
    assert metrics(task, said, data) == pytest.approx(
        {"pearson": 1 / math.sqrt(14 / 3 * 2), "spearman": 0.5, "mse": 5 / 3}
    )
    same = metrics(task, np.ones((4, 1), np.float32), data)
    assert (same["pearson"], same["spearman"]) == (0, 0)


def test_several_labels_are_judged_as_by_hand() -> None:
    task = Task("multilabel", ("a", "b", "c"), "micro_f1", pair=False)
    data = encoded([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [math.nan] * 3])
    said = np.array([[2.0, -1.0, -1.0], [-3.0, 0.5, -1.0], [9.0, 9.0, 9.0]], np.float32)
    # 2 found, 1 missed, no false alarm; f1 of a, b, c: 1, 1, 0
    assert metrics(task, said, data) == pytest.approx(
        {"micro_f1": 4 / 5, "macro_f1": 2 / 3, "accuracy": 1 / 2}
    )


def test_spans_count_only_when_whole() -> None:
    task = Task("tokens", ("O", "B-x", "I-x", "B-y"), "span_f1", pair=False)
    # true: x at 1-2, y at 3, x at 5; said: x at 1 alone, y at 3; pieces and [CLS] do not count
    data = encoded([-100, 1, 2, -100, 3, 0, 1, -100], per_token=True)
    said = [logits([3, 1, 0, 3, 3, 0, 0, 3], 4)]
    assert metrics(task, said, data) == pytest.approx(
        {
            "span_f1": 2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3),
            "accuracy": 3 / 5,
            "span_precision": 1 / 2,
            "span_recall": 1 / 3,
        }
    )
    words = Task("tokens", ("DET", "NOUN", "VERB", "X"), "accuracy", pair=False)
    assert metrics(words, said, data) == pytest.approx({"accuracy": 3 / 5})


def test_nothing_to_judge_by_is_said() -> None:
    with pytest.raises(UserError, match="no row has a label to judge by"):
        metrics(BINARY, logits([1]), encoded([-100]))
    task = Task("tokens", ("O", "B-x"), "span_f1", pair=False)
    with pytest.raises(UserError, match="no word has a tag to judge by"):
        metrics(task, [logits([1])], encoded([-100], per_token=True))


@pytest.fixture
def corpus(tmp_path: Any, tokenizer: BertTokenizerFast) -> Corpus:
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join("a b c d e f g h i j k l m n"[: 20 + i % 8] for i in range(40)))
    return read_corpus(str(text), tokenizer, 16, tmp_path / "cache")


def test_masked_words_are_judged_as_with_all_logits(corpus: Corpus) -> None:
    torch.manual_seed(0)
    model = BertForMaskedLM(BertConfig(**SMALL)).train()
    masking = Masking(4, 99, (0, 1, 2, 3, 4), share=0.3)
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

    found = evaluate_masked_words(Flat(), corpus, Masking(4, 99, (0, 1, 2, 3, 4)), 0, sequences=5)
    assert found["perplexity"] == pytest.approx(99, rel=1e-5)
    assert found["top1"] == 0
