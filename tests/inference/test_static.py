"""A static student answers by numpy as it does by torch, of every kind, without torch."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertTokenizerFast

from alembert.export import static
from alembert.export.torch_session import torch_session
from alembert.inference import Session
from alembert.inference.static import StaticEngine
from alembert.io.errors import UserError
from alembert.models.building import checked_config, draw_model
from alembert.models.loading import label_fields

KINDS = {
    "classification": ("down", "flat", "up"),
    "multilabel": ("a", "b"),
    "regression": ("score",),
    "tokens": ("B-thing", "I-thing", "O"),
    "encoder": (),
}
SINGLES = ["the film was good", "bad", "very unusual music and 9 tables", "the book " * 60]
PAIRS = [("good film", "bad book"), ("the book " * 50, "play"), ("a", "b")]
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path, tokenizer: BertTokenizerFast) -> Make:
    """Saves a static student of a kind with random numbers."""

    def saved(kind: str, **more: object) -> Path:
        fields: dict[str, object] = {
            "model_type": "static", "vocab_size": 99, "hidden_size": 6, "bigrams": 90,
            "neurons": 5, "sep_token_id": 3, "special_token_ids": [0, 2, 3],
        }  # fmt: skip
        fields |= label_fields(kind, KINDS[kind]) | more
        model = draw_model(checked_config(fields), kind, seed=0)
        torch.manual_seed(1)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        if bigrams := int(str(fields["bigrams"])):
            drawn = torch.randperm(99 * 99)[:bigrams]
            model.base_model.embeddings.list_pairs(drawn)
        model.save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        static.describe(tmp_path)
        return tmp_path

    return saved


@pytest.mark.parametrize("bigrams", [0, 90])
@pytest.mark.parametrize("kind", KINDS)
def test_numpy_says_what_torch_says(kind: str, bigrams: int, make: Make) -> None:
    folder = make(kind, bigrams=bigrams)
    mine, theirs = (session.logits(SINGLES) for session in
                    (Session(folder), torch_session(str(folder))))  # fmt: skip
    for one, other in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_pairs_are_read_as_torch_reads_them(kind: str, ordered: bool, make: Make) -> None:
    folder = make(kind, pairs=True, ordered=ordered)
    mine, theirs = (session.logits(PAIRS) for session in
                    (Session(folder), torch_session(str(folder))))  # fmt: skip
    np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
    back = Session(folder).logits([PAIRS[0][::-1]])[0]
    assert np.allclose(mine[0], back, atol=1e-5) != ordered


def test_a_single_text_may_be_given_to_a_model_of_pairs(make: Make) -> None:
    folder = make("classification", pairs=True)
    mine, theirs = (session.logits("the film") for session in
                    (Session(folder), torch_session(str(folder))))  # fmt: skip
    np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_has_the_same_answer_in_any_batch(kind: str, make: Make) -> None:
    session = Session(make(kind))
    for text, answer in zip(SINGLES, session.logits(SINGLES), strict=True):
        np.testing.assert_allclose(session.logits(text), answer, rtol=1e-5, atol=1e-6)


def test_windows_cover_a_long_text(make: Make) -> None:
    folder = make("classification")
    mine, theirs = (session.logits(SINGLES) for session in (
        Session(folder, long="window", max_length=12),
        torch_session(str(folder), long="window", max_length=12),
    ))  # fmt: skip
    np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


TAGGED = [
    "the film was good",
    ["the  film", "", "unusual", "\u200b", "9 tables!"],
    "a\tfilm\u2003was\ngood",
    ["\u0301"],
    "the book " * 60,  # which is cut
]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("window", [0, 2])
@pytest.mark.parametrize("texts", [TAGGED[:4], TAGGED, TAGGED[3:4], [], TAGGED[:4] * 600])
def test_tags_of_words_that_are_looked_up_are_those_that_the_tokenizer_leads_to(
    texts: list[str | list[str]], window: int, threads: int, make: Make
) -> None:
    session = Session(make("tokens", window=window), threads=threads)
    found, logits = session.tag(texts), session.logits(texts)
    session._words = None  # the tokenizer reads every text
    for mine, theirs in zip(found, session.tag(texts), strict=True):
        assert [(w.label, w.start, w.end) for w in mine.words] == [
            (w.label, w.start, w.end) for w in theirs.words
        ]
        np.testing.assert_allclose(
            [w.score for w in mine.words], [w.score for w in theirs.words], rtol=1e-5
        )
    for one, other in zip(logits, session.logits(texts), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_texts_that_are_looked_up_for_tags_are_refused_as_the_reader_refuses_them(
    make: Make,
) -> None:
    session = Session(make("tokens"))
    for text, told in ((" ", "text 8 .*is empty"), (["a", "\ud800"], "text 8 .*surrogate")):
        with pytest.raises(UserError, match=told):
            session.tag(["good", text], first=6)


WITHOUT = """
import sys
for name in ("torch", "transformers", "onnxruntime", "openvino", "scipy"):
    sys.modules[name] = None
from alembert.inference import Session
session = Session(sys.argv[1])
print([answer.label for answer in session.predict(["the film was good", "bad"])])
"""


def test_tokenizers_and_numpy_are_enough(make: Make) -> None:
    folder = make("classification")
    asked = [sys.executable, "-c", WITHOUT, str(folder)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    labels = [answer.label for answer in torch_session(str(folder)).predict(SINGLES[:2])]
    assert done.stdout.strip() == str(labels)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"hidden_size": 7}, "does not hold what config.json tells"),
        ({"bigrams": 91}, "does not hold what config.json tells"),
        ({"special_token_ids": [99]}, "does not hold what config.json tells"),
        ({"window": None}, "is no static student's"),
    ],
)
def test_a_config_that_is_not_the_files_is_refused(
    change: dict[str, object], told: str, make: Make
) -> None:
    folder = make("classification")
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=told):
        StaticEngine(folder, "classification")


def test_a_file_that_is_cut_is_refused(make: Make) -> None:
    folder = make("classification")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(UserError, match="cannot be read"):
        StaticEngine(folder, "classification")
