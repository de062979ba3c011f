"""Answers without torch: a Session says what torch says, of any text, in any batch."""

import ast
import json
import re
import shutil
import subprocess
import sys
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.command_line import command
from support.models import tiny
from tokenizers import ByteLevelBPETokenizer, Tokenizer
from transformers import AutoTokenizer, BertTokenizerFast, RobertaTokenizerFast

from alembert.data.encoded import IGNORED, tokenize
from alembert.evaluation import predict as evaluate
from alembert.export.export import export
from alembert.export.torch_session import torch_session
from alembert.inference import Session
from alembert.inference.batching import CALL, plan
from alembert.inference.manifest import Manifest
from alembert.inference.predictions import likeliest, predictions, softmax, spans_of
from alembert.inference.texts import word_spans
from alembert.inference.tokenization import Reader
from alembert.io.answers import Labels, Tag
from alembert.io.errors import UserError
from alembert.models.loading import load_model

TAGS = ["B-thing", "I-thing", "O"]
NAMES = {
    "classification": ["down", "flat", "up"],
    "multilabel": ["a", "b", "c"],
    "regression": ["score"],
    "tokens": TAGS,
}
EXPORTED = ("classification", "tokens", "words", "encoder")
SINGLES = ["the film was good", "bad", "very very unusual music and 9 tables", "the book " * 60]
PAIRS = [
    ("good film", "bad book"),
    ("the book " * 50, "play"),
    ("a " * 70, "b c " * 40),
    ("a", "b"),
]


@pytest.fixture(scope="module")
def folders(
    classifier: Path, tokenizer: BertTokenizerFast, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A tiny model of every kind, 64 positions; those of EXPORTED exported."""
    home = tmp_path_factory.mktemp("models")
    kinds = ("multilabel", "regression", "tokens", "words", "encoder")
    for kind in kinds:
        names = dict(enumerate(NAMES.get(kind, [])))
        more: dict[str, Any] = {"id2label": names} if names else {}
        if kind in ("multilabel", "regression"):
            problem = {"multilabel": "multi_label_classification"}.get(kind, kind)
            more["problem_type"] = problem
        tiny("bert", kind, **more).save_pretrained(home / kind)
        tokenizer.save_pretrained(home / kind)
        if kind in EXPORTED:
            export(str(home / kind), ["onnx"], None, 64)
    return {"classification": classifier, **{kind: home / kind for kind in kinds}}


def in_torch(folder: Path, kind: str, tokenizer: BertTokenizerFast, text: Any) -> np.ndarray:
    """What transformers say of one text alone: (C,), (T, C), or an encoder's mean (H,)."""
    model = load_model(str(folder), kind)
    parts = [text] if isinstance(text, str) else text
    inputs = tokenizer(*parts, truncation=True, max_length=64, return_tensors="pt")
    with torch.inference_mode():
        if kind == "encoder":
            return model(**inputs).last_hidden_state[0].mean(0).numpy()
        return model(**inputs).logits[0].numpy()


@pytest.mark.parametrize("opened", [Session, lambda path: torch_session(str(path))])
def test_classes_are_those_of_transformers_for_texts_pairs_and_long_ones(
    folders: dict[str, Path], tokenizer: BertTokenizerFast, opened: Any
) -> None:
    texts = [*SINGLES, *PAIRS]
    session = opened(folders["classification"])
    truth = [in_torch(folders["classification"], "classification", tokenizer, t) for t in texts]
    np.testing.assert_allclose(session.logits(texts), truth, atol=1e-4)
    chances = torch.tensor(np.array(truth)).softmax(1)
    for answer, row in zip(session.predict(texts), chances.tolist(), strict=True):
        assert answer.scores == pytest.approx(dict(zip(session.labels, row, strict=True)), abs=1e-4)
        assert answer.label == max(answer.scores, key=lambda name: answer.scores[name])
        assert answer.score == answer.scores[answer.label]


def test_vectors_are_the_mean_of_the_last_hidden_states(
    folders: dict[str, Path], tokenizer: BertTokenizerFast
) -> None:
    truth = [in_torch(folders["encoder"], "encoder", tokenizer, text) for text in SINGLES]
    np.testing.assert_allclose(Session(folders["encoder"]).embed(SINGLES), truth, atol=1e-4)


@pytest.mark.parametrize("opened", [Session, lambda path: torch_session(str(path))])
def test_masks_are_filled_as_transformers_would(
    folders: dict[str, Path], tokenizer: BertTokenizerFast, opened: Any
) -> None:
    texts = ["the [MASK] was good", "[MASK] [MASK] is bad", "not " * 20 + "[MASK]"]
    found = opened(folders["words"]).fill_mask(texts, top=3)
    assert [len(masks) for masks in found] == [1, 2, 1]
    for text, masks in zip(texts, found, strict=True):
        at = [i for i, token in enumerate(tokenizer(text)["input_ids"]) if token == 4]
        chances = torch.tensor(in_torch(folders["words"], "words", tokenizer, text)[at]).softmax(1)
        for guesses, row in zip(masks, chances, strict=True):
            best = row.topk(3)
            assert [guess.score for guess in guesses] == pytest.approx(best.values.tolist())
            words = tokenizer.convert_ids_to_tokens(best.indices.tolist())
            assert [guess.word for guess in guesses] == words


def test_tags_are_those_that_training_predicts_at_first_pieces(
    folders: dict[str, Path], tokenizer: BertTokenizerFast
) -> None:
    sentences = ["unusual film", "the very good table9 play", "book " * 80, "a b c"]
    words = [text.split() for text in sentences]
    labels = [[0] * len(each) for each in words]
    rows = tokenize(words, None, labels, tokenizer, 64, words=True)
    model = load_model(str(folders["tokens"]), "tokens")
    logits = evaluate.predict(model, rows, 0)
    session = Session(folders["tokens"])
    for i, found in enumerate(session.tag(sentences)):
        places = np.array(rows[i]["labels"]) != IGNORED
        truth = [TAGS[c] for c in logits[i][places].argmax(1)]
        assert [tag.label for tag in found.words] == truth + [None] * (len(words[i]) - len(truth))
        assert [tag.text for tag in found.words] == words[i]
    assert session.tag(words) == session.tag([" ".join(each) for each in words])


@pytest.mark.parametrize("kind", ["multilabel", "regression"])
def test_several_labels_and_scores_come_of_the_same_logits(
    folders: dict[str, Path], tokenizer: BertTokenizerFast, kind: str
) -> None:
    found = torch_session(str(folders[kind])).predict(SINGLES)
    for text, answer in zip(SINGLES, found, strict=True):
        logits = in_torch(folders[kind], kind, tokenizer, text)
        if kind == "regression":
            assert answer.value == pytest.approx(float(logits[0]), abs=1e-4)
        else:
            chances = torch.tensor(logits).sigmoid().tolist()
            assert list(answer.scores.values()) == pytest.approx(chances, abs=1e-5)
            assert set(answer.labels) == {
                name for name, chance in zip("abc", chances, strict=True) if chance > 0.5
            }


def test_order_and_batches_do_not_change_an_answer(folders: dict[str, Path]) -> None:
    texts = [" ".join(["good film bad"] * (1 + i % 7)) for i in range(40)]
    whole = Session(folders["classification"]).logits(texts)
    for tokens in (1, 30, 10_000):
        session = Session(folders["classification"], tokens_per_batch=tokens)
        np.testing.assert_allclose(session.logits(texts[::-1])[::-1], whole, atol=1e-5)


def test_several_threads_may_ask_one_session(folders: dict[str, Path]) -> None:
    texts = [f"the {word} was good {'very ' * n}" for n in range(8) for word in ("film", "book")]
    session = Session(folders["classification"])
    truth = session.predict(texts)
    with ThreadPoolExecutor(4) as pool:
        assert all(found == truth for found in pool.map(session.predict, [texts] * 40))


@given(st.lists(st.integers(1, 600)), st.integers(1, 2000))
def test_a_plan_has_every_row_once_keeps_the_budget_and_pads_little(
    lengths: list[int], tokens: int
) -> None:
    batches = plan(lengths, tokens)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        sizes = [lengths[row] for row in batch]
        assert len(batch) == 1 or len(sizes) * max(sizes) <= tokens
        assert len(sizes) * max(sizes) - sum(sizes) < CALL


def fake(folder: Path, kind: str, engine: Any, **more: Any) -> Session:
    """A session on a tokenizer and numbers that were made up."""
    facts = Manifest(
        kind=kind,
        labels=tuple(NAMES.get(kind, ())),
        max_length=64,
        inputs=(),
        parameters=0,
        chosen="",
        variants=(),
    )
    return Session(folder, facts=facts, engine=engine, **more)


def test_windows_share_a_quarter_and_their_logits_are_averaged_by_tokens(
    folders: dict[str, Path],
) -> None:
    seen = []

    def engine(inputs: Any) -> np.ndarray:
        seen.extend(inputs["input_ids"].tolist())
        return inputs["input_ids"][:, 1:2].astype(np.float32)  # a window says its first letter

    session = fake(folders["regression"], "regression", engine, long="window", max_length=11)
    # 11 tokens: 8 of a pair's three special ones, a quarter 2; 9 letters of a single text
    answer = session.predict("a b c d e f g h i j k l m n o p")
    letters = ["abcdefghi", "hijklmnop"]
    windows = [[2, *(ord(x) - ord("a") + 5 for x in each), 3] for each in letters]
    assert seen == windows
    assert answer.value == pytest.approx((5 + 12) / 2)
    seen.clear()
    # a b c d e f g h i | h i j k: 11 and 6 tokens
    value = session.predict("a b c d e f g h i j k").value
    assert value == pytest.approx((11 * 5 + 6 * 12) / 17)


def test_a_pair_of_long_texts_is_not_cut_into_windows_times_windows(
    folders: dict[str, Path],
) -> None:
    session = fake(folders["regression"], "regression", lambda inputs: np.zeros((1, 1)),
                   long="window", max_length=16)  # fmt: skip
    with pytest.raises(UserError, match="both texts of the pair are too long for windows"):
        session.tokenize([("a " * 150, "b " * 20_000)])
    assert session.tokenize([("a", "b " * 2000)])  # one that fits meets each window once


def test_a_text_is_cut_on_the_side_that_its_tokenizer_was_saved_with(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    home = tmp_path / "left"
    shutil.copytree(folders["regression"], home)
    path = home / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"truncation_side": "left"}))
    whole = Tokenizer.from_file(str(home / "tokenizer.json"))
    whole.enable_truncation(6, direction="right")  # what an earlier cut left in the other file
    whole.save(str(home / "tokenizer.json"))
    text = " ".join("abcdefghijklmnop")
    reader = Reader(home, 6, windows=False)
    kept = AutoTokenizer.from_pretrained(home)(text, truncation=True, max_length=6)["input_ids"]
    assert reader([text]).encodings[0].ids == kept
    assert kept[-2] == ord("p") - ord("a") + 5


def test_a_tag_is_taken_from_the_window_that_shows_most_around_it(folders: dict[str, Path]) -> None:
    def engine(inputs: Any) -> np.ndarray:
        ids = inputs["input_ids"]
        first = np.broadcast_to(ids[:, 1:2], ids.shape) == 5  # the window that begins with "a"
        return np.stack([first, ~first, np.zeros_like(first)], -1).astype(np.float32) * 9

    session = fake(folders["tokens"], "tokens", engine, long="window", max_length=15)
    # 12 of a pair, a quarter 3; 13 letters: a to m, k to p; of k l m, k is nearer to the first's
    # middle, m to the second's, l is one from either edge and stays with the earlier
    words = session.tag("a b c d e f g h i j k l m n o p").words
    assert "".join(tag.label[0] for tag in words) == "B" * 12 + "I" * 4


def test_a_word_of_many_pieces_is_answered_by_its_first_in_any_window(
    folders: dict[str, Path], tokenizer: BertTokenizerFast
) -> None:
    begins = np.array([not token.startswith("##") for token in tokenizer.convert_ids_to_tokens(range(99))])  # fmt: skip  # noqa: E501

    def engine(inputs: Any) -> np.ndarray:
        first = begins[inputs["input_ids"]]
        return np.stack([first, ~first, np.zeros_like(first)], -1).astype(np.float32) * 9

    session = fake(folders["tokens"], "tokens", engine, long="window", max_length=15)
    words = session.tag("abcde " * 9 + "abcdefghijklmnopqrstuvwxyz " * 2 + "abc").words
    assert [tag.label for tag in words] == ["B-thing"] * 12


def test_a_pair_of_long_texts_is_read_by_every_window_of_both(folders: dict[str, Path]) -> None:
    seen = []

    def engine(inputs: Any) -> np.ndarray:
        seen.extend(zip(inputs["input_ids"].tolist(), inputs["token_type_ids"].tolist()))  # noqa: B905
        return np.zeros((len(inputs["input_ids"]), 1), np.float32)

    session = fake(folders["regression"], "regression", engine, long="window", max_length=11)
    session.predict(("a b c d e f", "n o p q r"))
    left = {tuple(i for i, t in zip(*row, strict=True) if t == 0 and i > 4) for row in seen}
    right = {tuple(i for i, t in zip(*row, strict=True) if t == 1 and i > 4) for row in seen}
    assert {i for row in left for i in row} == set(range(5, 11))
    assert {i for row in right for i in row} == set(range(18, 23))
    assert len(seen) == len(left) * len(right)


@pytest.mark.parametrize(
    ("labels", "spans"),
    [
        ("O B-x I-x O", [("b c", "x")]),
        ("B-x B-x I-y", [("a", "x"), ("b", "x"), ("c", "y")]),
        ("I-x I-x", [("a b", "x")]),
        ("S-x B-y E-y I-y", [("a", "x"), ("b c", "y"), ("d", "y")]),
        ("B-x - I-x", [("a", "x"), ("c", "x")]),
    ],
)
def test_spans_are_put_together_as_seqeval_counts_them(
    labels: str, spans: list[tuple[str, str]]
) -> None:
    names = [None if name == "-" else name for name in labels.split()]
    words = [
        Tag(text="abcd"[i], label=name, start=2 * i, end=2 * i + 1, score=0.9 - i / 10)
        for i, name in enumerate(names)
    ]
    found = spans_of("a b c d", words)
    assert [(span.text, span.label) for span in found] == spans
    assert all(span.score == min(w.score for w in words if span.start <= w.start < span.end) for span in found)  # fmt: skip  # noqa: E501


def test_probabilities_hold_for_numbers_that_overflow() -> None:
    large = np.array([[-2000.0, 2000.0]], np.float32)
    assert softmax(large).tolist() == [[0, 1]]
    assert predictions("multilabel", large, "ab") == [Labels(("b",), {"a": 0, "b": 1})]
    assert likeliest(large, 9) == [[(1, 1.0), (0, 0.0)]]


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_words_are_what_white_space_parts(text: str) -> None:
    assert [text[start:end] for start, end in word_spans(text)[1]] == text.split()


def test_robertas_special_tokens_and_pairs_are_its_own(tmp_path: Path) -> None:
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(SINGLES, vocab_size=300, special_tokens=special)
    trained.save_model(str(tmp_path))
    made = RobertaTokenizerFast.from_pretrained(tmp_path)
    made.save_pretrained(tmp_path)
    session = fake(tmp_path, "classification", engine=print)
    for text in [*SINGLES, *PAIRS]:
        parts = [text] if isinstance(text, str) else text
        truth = made(*parts, truncation=True, max_length=64)["input_ids"]
        found = session.tokenize(text)
        assert [token.id for token in found.tokens] == truth
        assert found.cut == (len(made(*parts)["input_ids"]) > 64)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (None, "NoneType: give a text or a list of texts"),
        ({"text": "a"}, "dict: give a text or a list"),
        (b"a", "bytes: give a text or a list"),
        (["a", 3], r"text 2 \(3\): give a text, or a pair"),
        (["a", ""], r"text 2 \(''\): is empty"),
        ("\n ", "text 1 .*: is empty"),
        ([("a", "")], "text 1 .*: a text of the pair is empty"),
        ([("a", "b", "c")], "text 1 .*: a pair has two texts, this has 3"),
        (["a", "b\ud800"], "text 2 .*: character 2 is half of a surrogate pair"),
    ],
)
def test_what_is_no_text_is_named(folders: dict[str, Path], texts: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Session(folders["classification"]).predict(texts)


def test_the_number_of_a_bad_text_counts_from_the_first_of_all(folders: dict[str, Path]) -> None:
    session = fake(folders["classification"], "classification", lambda x: x["input_ids"][:, :3])
    with pytest.raises(UserError, match="text 2501 "):
        session.logits(["a"] * 2500 + [""])
    for ask, kind in ((Session.predict, "classification"), (Session.embed, "encoder"),
                      (Session.tag, "tokens"), (Session.fill_mask, "words")):  # fmt: skip
        with pytest.raises(UserError, match=r"^text 1202 .*: is empty"):
            ask(Session(folders[kind]), ["a [MASK]", " "], first=1200)


def test_no_text_has_no_answer(folders: dict[str, Path]) -> None:
    assert Session(folders["classification"]).predict([]) == []
    assert Session(folders["tokens"]).tag([]) == []
    assert Session(folders["words"]).fill_mask([]) == []
    for session in (Session(folders["encoder"]), torch_session(str(folders["encoder"]))):
        assert session.embed([]).shape == (0, 16)


def test_the_method_that_serves_a_model_is_named(folders: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"predict is not for this model \(encoder\): use embed"):
        Session(folders["encoder"]).predict(["a"])
    with pytest.raises(UserError, match=r"tag is not for this model \(words\): use fill_mask"):
        Session(folders["words"]).tag(["a"])


def test_a_text_without_a_mask_is_named(folders: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"text 2 .*: no \[MASK\] within 64 tokens"):
        Session(folders["words"]).fill_mask(["[MASK]", "the " * 90 + "[MASK]"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"long": "fold"}, "long 'fold': choose cut or window"),
        ({"max_length": 65}, "max_length 65: the model takes 1 to 64 tokens"),
        ({"max_length": 4}, "max_length 4: no token fits beside the special tokens"),
        ({"tokens_per_batch": 0}, "tokens_per_batch 0: must be 1 or more"),
        ({"threads": 0}, "--threads 0: must be 1 or more"),
        ({"threads": 10**6}, "--threads 1000000: there are [0-9]+ cores"),
        ({"backend": "int8"}, "not exported for int8; there is onnx"),
    ],
)
def test_a_value_that_does_not_serve_is_named(
    folders: dict[str, Path], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        Session(folders["classification"], **options)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("tokenizer.json", None, "there is no tokenizer.json"),
        ("tokenizer.json", b"{}", r"tokenizer\.json: cannot be read"),
        ("deploy.json", None, "not exported: 'alembert export .*' makes deploy.json"),
        ("deploy.json", b"{", r"deploy\.json: cannot be read"),
        ("deploy.json", b'{"format": 1}', r"deploy\.json: cannot be read \(no 'chosen' in it\)"),
        ("onnx/model.onnx", None, r"model\.onnx: no such file: export the model again"),
        ("onnx/model.onnx", b"\x08\x07broken", r"model\.onnx: cannot be read"),
    ],
)
def test_a_broken_folder_is_named(
    folders: dict[str, Path], tmp_path: Path, file: str, content: bytes | None, said: str
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(folders["classification"], folder)
    (folder / "checksums.json").unlink()
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(UserError, match=said):
        Session(folder)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        (
            "max_length",
            "64",
            r"deploy\.json: cannot be read \(.*max_length is '64'\): export the model",
        ),
        ("kind", "answers", r"deploy\.json: cannot be read \(kind 'answers'.*: export the model"),
        (
            "kind",
            "tokens",
            r"model\.onnx: does not match deploy\.json: export the m",
        ),
        ("labels", ["a", "b"], r"model\.onnx: does not match deploy\.json: export"),
        ("inputs", ["input_ids"], r"model\.onnx: does not match deploy\.json: expo"),
        ("vocabulary", 98, r"tokenizer\.json: has 99 tokens and the model 98: put the tokenizer"),
    ],
)
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_files_that_do_not_fit_each_other_are_named(
    folders: dict[str, Path], tmp_path: Path, field: str, value: Any, said: str, runtime: str
) -> None:
    shutil.copytree(folders["classification"], tmp_path / "mixed")
    (tmp_path / "mixed" / "checksums.json").unlink()
    path = tmp_path / "mixed" / "deploy.json"
    content = json.loads(path.read_text()) | {field: value}
    content["variants"][0]["runtime"] = runtime
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=said):
        Session(tmp_path / "mixed")


@pytest.mark.parametrize("file", ["deploy.json", "onnx/model.onnx", "checksums.json"])
def test_a_flipped_byte_of_an_export_is_named(
    file: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(folders["classification"], tmp_path / "flipped")
    path = tmp_path / "flipped" / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"^{path}: is damaged"):
        Session(tmp_path / "flipped")


def test_a_folder_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: no such folder; check the path"):
        Session(tmp_path / "nowhere")


@pytest.mark.slow
def test_a_megabyte_is_cut_or_windowed_in_seconds(folders: dict[str, Path]) -> None:
    tokens = []

    def engine(inputs: Any) -> np.ndarray:
        tokens.append(inputs["input_ids"].size)
        return np.zeros((len(inputs["input_ids"]), 3), np.float32)

    began = time.process_time()
    text = "the film " * 111_000
    for hostile in (text, "x" * 10**6, "." * 10**6):
        fake(folders["classification"], "classification", engine).predict(hostile)
    assert sum(tokens) == 64 + 3 + 64  # one word is too long for a word
    fake(folders["classification"], "classification", engine, long="window").predict(text)
    assert time.process_time() - began < 20
    assert 222_000 < sum(tokens) < 222_000 * 1.5


def test_the_numbers_of_ten_thousand_texts_are_never_held_at_once(
    folders: dict[str, Path],
) -> None:
    words = 2000

    def engine(inputs: Any) -> np.ndarray:
        return np.zeros((len(inputs["places"]), words), np.float32)

    session = fake(folders["words"], "words", engine)
    texts = ["the [MASK] was good"] * 10_000
    tracemalloc.start()
    assert len(session.fill_mask(texts, top=1)) == 10_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * words * 10_000 / 10  # a tenth of all


@pytest.mark.clock
def test_an_answer_loads_neither_torch_nor_transformers_and_takes_under_half_a_second(
    folders: dict[str, Path],
) -> None:
    program = (
        "import sys, time\n"
        "import alembert.inference\n"
        "assert 'numpy' not in sys.modules\n"
        "from alembert.inference import Session\n"
        f"Session({str(folders['classification'])!r}).predict(['the film was good'])\n"
        "print(time.process_time(), *sys.modules)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    loaded = set(runs[0].stdout.split())
    assert not loaded & {"torch", "transformers", "pandas", "scipy", "datasets", "pydantic"}
    assert {"onnxruntime", "tokenizers"} <= loaded
    assert min(float(run.stdout.split()[0]) for run in runs) < 0.5


def predict(
    words: list[str], monkeypatch: pytest.MonkeyPatch, stdin: bytes = b""
) -> tuple[int, list[str]]:
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(stdin)))
    return command(["predict", *words], monkeypatch), words


def test_the_verb_answers_exported_or_not(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {}
    for backend in ("onnx", "torch"):
        words = [str(folders["classification"]), "good film", "bad", "--json", "--backend", backend]
        assert predict(words, monkeypatch)[0] == 0
        said[backend] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["text"] for row in said["onnx"]] == ["good film", "bad"]
    for mine, theirs in zip(said["onnx"], said["torch"], strict=True):
        assert mine["scores"] == pytest.approx(theirs["scores"], abs=1e-4)


@pytest.mark.parametrize(
    ("kind", "text", "line"),
    [
        ("classification", "good film", r"(up|down|flat) [01]\.\d{3}\tgood film"),
        ("multilabel", "good", r"(no label|([abc] [01]\.\d{3}(, )?)+)\tgood"),
        ("regression", "good", r"-?\d+\.\d{3}\tgood"),
        ("tokens", "good film", r"(no span|(thing [01]\.\d{3} '[a-z ]+'(, )?)+)\tgood film"),
        ("words", "a [MASK]", r"(\S+ [01]\.\d{3}(, )?){5}\ta \[MASK\]"),
        ("encoder", "good", r"16 numbers: (-?\d+\.\d{4} ){4}\.\.\.\tgood"),
    ],
)
def test_every_kind_of_answer_is_one_line(
    folders: dict[str, Path],
    kind: str,
    text: str,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert predict([str(folders[kind]), text], monkeypatch)[0] == 0
    said = capsys.readouterr()
    assert re.fullmatch(line + "\n", said.out)
    note = f"{folders[kind]} is not exported: torch runs it, which starts slowly\n"
    assert said.err == ("" if kind in EXPORTED else note)
    assert predict([str(folders[kind]), text, "--json"], monkeypatch)[0] == 0
    assert json.loads(capsys.readouterr().out)["text"] == text


def test_lines_of_standard_input_are_texts_or_pairs(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(folders["classification"])
    assert predict([model, "-", "--json"], monkeypatch, b"\xef\xbb\xbfgood\r\nbad")[0] == 0
    texts = [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()]
    assert texts == ["good", "bad"]
    assert predict([model, "-", "--pair"], monkeypatch, b"good\tbad\n")[0] == 0
    assert capsys.readouterr().out.endswith("\tgood / bad\n")
    for stdin, words, error in (
        (b"good\n\n", [], "standard input, line 2: is empty; fill it or drop it"),
        (b"good\n\xff", [], "standard input, line 2: byte 1 is no UTF-8: convert it"),
        (b"good\n", ["--pair"], "standard input, line 1: --pair needs two texts with one tab"),
    ):
        assert predict([model, "-", *words], monkeypatch, stdin)[0] == 2
        assert error in capsys.readouterr().err
    lines = b"a [MASK]\n" * 1200 + b"none\n"
    assert predict([str(folders["words"]), "-", "--top", "1"], monkeypatch, lines)[0] == 2
    assert "alembert: text 1201 ('none'): no [MASK]" in capsys.readouterr().err
    assert predict([model, "a", "b", "c", "--pair"], monkeypatch)[0] == 2
    assert "--pair: 3 texts are no pairs" in capsys.readouterr().err


def test_the_python_on_the_page_runs(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "predict.md").read_text(encoding="utf-8")
    (tmp_path / "teacher").symlink_to(folders["classification"])
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    assert blocks
    for block in blocks:
        exec(compile(ast.parse(block), "predict.md", "exec"), {})


def test_answers_are_plain_values(folders: dict[str, Path]) -> None:
    answer = Session(folders["classification"]).predict("good")
    label, score, scores = astuple(answer)
    assert (type(label), type(score)) == (str, float)
    assert {type(chance) for chance in scores.values()} == {float}


def test_torch_gives_a_model_of_one_type_no_types(folders: dict[str, Path], tmp_path: Path) -> None:
    home = tmp_path / "roberta"
    shutil.copytree(folders["classification"], home)
    tiny("roberta", "classification", id2label={0: "a", 1: "b"}).save_pretrained(home)
    answer = torch_session(str(home)).predict(("a", "b"))  # its tokenizer gives types of pairs
    assert set(answer.scores) == {"a", "b"}
