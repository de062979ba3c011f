"""The baselines of small tasks: which wins, how they are chosen, and what the cache keeps."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.runs import saved
from support.tasks import KINDS
from support.vocabulary import VOCABULARY
from transformers import BertTokenizerFast

from alembert.data.sources import Given
from alembert.data.splits import Files, prepare
from alembert.data.tasks import Task
from alembert.evaluation.baselines import fitting, linear
from alembert.evaluation.baselines.fitting import Baseline, Examples, baselines_of
from alembert.evaluation.baselines.frozen import FrozenEncoder
from alembert.evaluation.metrics import metrics
from alembert.io.files import caching_in
from alembert.models.loading import load_model, load_tokenizer

Parts = tuple[Task, Examples, Examples, Examples]
SEEN, UNSEEN = ["good", "very", "film", "bad", "not", "book"], ["table", "play", "music"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path) -> Iterator[None]:
    with caching_in(tmp_path / "cache"):
        yield


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The strengths of all fits, as they happen."""
    made: list[float] = []
    fit = linear.fit

    def counted(*given: Any) -> linear.Linear:
        made.append(given[-1])
        return fit(*given)

    monkeypatch.setattr(linear, "fit", counted)
    return made


def parts_of(
    tokenizer: BertTokenizerFast, train: Given, test: Given, valid: Given | None = None, **more: Any
) -> Parts:
    splits = prepare(
        Files(train=train, valid=valid, evaluation=test, **more), tokenizer, 32, None, 0
    )
    assert splits.test is not None
    assert splits.raw_test is not None
    return (
        splits.task,
        Examples.of(splits.raw_train, splits.labelled_train, tokenizer),
        Examples.of(splits.raw_valid, splits.valid, tokenizer),
        Examples.of(splits.raw_test, splits.test, tokenizer),
    )


def values_of(parts: Parts, found: dict[str, Baseline]) -> dict[str, float]:
    task, test = parts[0], parts[3]
    return {
        name: metrics(task, each.logits, test.rows)[task.metric] for name, each in found.items()
    }


def rows(words: list[list[str]], count: int, seed: int) -> list[dict[str, str]]:
    """Texts whose words tell the label, among others that do not."""
    dice = np.random.default_rng(seed)
    made = []
    for i in range(count):
        filler = dice.choice(["the", "is", "and", "was"], 3).tolist()
        made.append(
            {"text": " ".join([*filler, *dice.choice(words[i % 2], 3)]), "label": "ab"[i % 2]}
        )
    return made


def test_the_words_that_tell_the_label_are_learnt_and_the_majority_is_not_enough(
    tokenizer: BertTokenizerFast,
) -> None:
    words = [SEEN[:3], SEEN[3:]]
    parts = parts_of(tokenizer, rows(words, 100, 0), rows(words, 40, 1))
    values = values_of(parts, baselines_of(*parts, None))
    assert values == {"majority": 0.5, "tfidf": 1.0}


def test_an_encoder_that_knows_words_of_like_meaning_wins_on_words_never_seen(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    path = saved(tmp_path / "m", tokenizer)
    model, numbers = load_model(path, "words"), {word: i for i, word in enumerate(VOCABULARY)}
    with torch.no_grad():
        table = model.get_input_embeddings().weight
        for new, old in zip(UNSEEN, SEEN, strict=False):
            table[numbers[new]] = table[numbers[old]]
    model.save_pretrained(path)
    train, test = (rows([first, SEEN[3:]], 80, 0) for first in (SEEN[:3], UNSEEN))
    parts = parts_of(tokenizer, train, test)
    values = values_of(parts, baselines_of(*parts, FrozenEncoder(path, 32)))
    assert values["embeddings"] > 0.9
    assert values["tfidf"] < 0.8


def test_the_strength_is_chosen_on_the_held_out_rows(
    tokenizer: BertTokenizerFast, fits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two strengths that read the texts alike, the held-out labels decide."""
    train = rows([SEEN[:3], SEEN[3:]], 40, 0)
    train += [{"text": "the music was", "label": "a"}] * 30  # more of one class than of the other
    rare = [{"text": f"is and {word}", "label": "b"} for word in SEEN[3:] * 4]
    strong = "TF-IDF, linear SVM (C 1e-06)"
    weak = "TF-IDF, linear SVM (C 5)"
    monkeypatch.setattr(linear, "SPARSE", (1e-6, 5.0))
    for valid, chosen in ((rare, weak), ([row | {"label": "a"} for row in rare], strong)):
        valid = [*valid, {"text": "the music was", "label": "a"}, rare[0]]
        parts = parts_of(tokenizer, train, rare + train, valid)
        assert baselines_of(*parts, None)["tfidf"].model == chosen
    assert fits == [1e-6, 5.0] * 2


def test_of_equal_strengths_the_strongest_regularisation_is_taken(
    tokenizer: BertTokenizerFast,
) -> None:
    words = [SEEN[:3], SEEN[3:]]
    parts = parts_of(tokenizer, rows(words, 400, 0), rows(words, 40, 1))
    assert baselines_of(*parts, None)["tfidf"].model == "TF-IDF, linear SVM (C 0.01)"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_task_has_baselines_that_answer_as_they_are_measured(
    kind: str, tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    write, name, _ = KINDS[kind]
    path = write(tmp_path / name)
    parts = parts_of(tokenizer, path, path)
    task, test = parts[0], parts[3]
    found = baselines_of(*parts, FrozenEncoder(saved(tmp_path / "m", tokenizer), 32))
    assert [*found] == ["majority", "tfidf", "embeddings"]
    values = values_of(parts, found)
    assert values["majority"] < values["tfidf"]
    for baseline in found.values():
        assert len(baseline.logits) == len(test.texts)
        for i in (0, 7):
            logits = baseline.answer(test.texts[i])
            measured = np.asarray(baseline.logits[i])
            if task.kind == "tokens":
                there = test.rows.take(np.array([i])).labelled
                measured = measured[there]
                assert len(measured) == len(test.texts[i])
            assert np.allclose(logits, measured, atol=1e-4)


def test_of_scores_of_pairs_the_cosine_alone_is_taken_where_it_is_better(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    encoder = FrozenEncoder(saved(tmp_path / "m", tokenizer), 32)
    dice = np.random.default_rng(0)
    made = []
    for _ in range(24):
        pair = [" ".join(dice.choice([*SEEN, *UNSEEN], 4)) for _ in range(2)]
        made.append({"sentence1": pair[0], "sentence2": pair[1], "score": 0.0})
    for row in made:
        cosine = float(encoder([(row["sentence1"], row["sentence2"])])[0, -1])
        row["score"] = 3 * cosine + 1
    parts = parts_of(tokenizer, made, made[:8], made[8:])
    found = baselines_of(*parts, encoder)["embeddings"]
    assert found.model == "frozen embeddings, cosine alone"
    truth = [row["score"] for row in made[:8]]
    assert np.asarray(found.logits)[:, 0] == pytest.approx(truth, abs=1e-3)


def test_what_is_fitted_once_comes_from_the_cache(
    tmp_path: Path, tokenizer: BertTokenizerFast, fits: list[float], news: list[str]
) -> None:
    words = [SEEN[:3], SEEN[3:]]
    path = saved(tmp_path / "m", tokenizer)
    train = rows(words, 60, 0)

    def made(train: list[dict[str, str]], test: list[dict[str, str]], model: str) -> Any:
        parts = parts_of(load_tokenizer(path), train, test)
        return baselines_of(*parts, FrozenEncoder(model, 32))

    first = made(train, rows(words, 40, 1), path)
    count = len(fits)
    assert count == len(linear.SPARSE) + len(linear.DENSE)
    again = made(train, rows(words, 40, 1), path)
    for name in first:
        assert (first[name].logits == again[name].logits).all()
        assert first[name].model == again[name].model
    assert again["tfidf"].seconds == first["tfidf"].seconds
    made(train, rows(words, 20, 2), path)  # other test rows need no other model
    assert len(fits) == count
    other = saved(tmp_path / "other", tokenizer, layers=1)
    made(train, rows(words, 20, 2), other)  # another encoder has its own
    assert len(fits) == count + len(linear.DENSE)
    relabelled = [row | {"label": "b"} if i == 0 else row for i, row in enumerate(train)]
    made(relabelled, rows(words, 20, 2), path)
    assert len(fits) == 2 * count + len(linear.DENSE)
    assert news == []


def test_a_broken_file_of_the_cache_is_made_again(
    tmp_path: Path, tokenizer: BertTokenizerFast, fits: list[float], news: list[str]
) -> None:
    words = [SEEN[:3], SEEN[3:]]
    parts = parts_of(tokenizer, rows(words, 60, 0), rows(words, 40, 1))
    first = baselines_of(*parts, None)["tfidf"]
    (path,) = (tmp_path / "cache" / "baselines").glob("tfidf-*.safetensors")
    path.write_bytes(path.read_bytes()[:-9])
    again = baselines_of(*parts, None)["tfidf"]
    assert np.array_equal(again.logits, first.logits)
    assert len(fits) == 2 * len(linear.SPARSE)
    assert f"{path}: is damaged" in news[-1]
    baselines_of(*parts, None)
    assert len(fits) == 2 * len(linear.SPARSE)


def test_of_many_texts_a_part_is_drawn_and_said(
    tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [SEEN[:3], SEEN[3:]]
    parts = parts_of(tokenizer, rows(words, 100, 0), rows(words, 40, 1), rows(words, 10, 2))
    characters = sum(map(len, parts[1].texts))
    monkeypatch.setattr(fitting, "CHARACTERS", characters // 2)
    assert ", of 50 of 100 texts" in baselines_of(*parts, None)["tfidf"].model


def test_words_that_a_row_has_no_token_of_are_left_out(tokenizer: BertTokenizerFast) -> None:
    sentence = ["good", "\u200b", "film", *["music"] * 40]  # the second is dropped, the rest cut
    made = [{"tokens": sentence, "tags": ["O"] * 2 + ["B-x"] + ["O"] * 40}] * 4
    _, train, _, test = parts_of(tokenizer, made, made)
    read = test.texts[0]
    assert read[:3] == ["good", "film", "music"]
    assert len(read) == int(test.rows.take(np.array([0])).labelled.sum())
    assert len(train.labels) == sum(map(len, train.texts))


def test_of_many_words_so_many_texts_are_read_as_have_the_vectors(
    tmp_path: Path, tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, name, _ = KINDS["tokens"]
    path = write(tmp_path / name)
    parts = parts_of(tokenizer, path, path, path)
    monkeypatch.setattr(fitting, "VECTORS", 4 * 10)  # a sentence has four words
    found = baselines_of(*parts, FrozenEncoder(saved(tmp_path / "m", tokenizer), 32))
    assert found["embeddings"].model.endswith(", of 10 of 40 texts")
