"""Candidates: those of the authors' loop, however many are asked for at once."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from support.models import tiny
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import BertTokenizerFast, PreTrainedTokenizerFast

from alembert.augmentation import candidates
from alembert.augmentation.candidates import MaskedLM, by_model, vectors_of
from alembert.augmentation.variants import Augment, cut
from alembert.augmentation.word_vectors import Vectors, nearest, read_vectors
from alembert.io.errors import UserError

TEXTS = [
    "The film, was GOOD",
    "good",
    "music  and a bad book; the table is not very good film",
    "play the music of the film and book the table",
]


def words_of(text: str) -> list[str]:
    return [text[start:end] for start, end in cut(text).spans]


def asks_of(texts: Sequence[str]) -> list[Any]:
    return [(text, cut(text).spans) for text in texts]


def plainly(
    mlm: MaskedLM, text: str, start: int, end: int, window: tuple[int, int] | None = None
) -> list[str]:
    """The authors' way: one word of one text a pass, the whole head, the vocabulary sorted."""
    tokenizer = mlm.tokenizer
    encoding = tokenizer(text, add_special_tokens=False).encodings[0]
    low, high = window or (0, len(encoding))
    first, last = encoding.char_to_token(start), encoding.char_to_token(end - 1) + 1
    hidden = [*encoding.ids[low:first], tokenizer.mask_token_id, *encoding.ids[last:high]]
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    ids = torch.tensor([[cls, *hidden, sep, *encoding.ids[low:high], sep]])
    types = torch.tensor([[0] * (len(hidden) + 2) + [1] * (high - low + 1)])
    more = {"token_type_ids": types} if mlm.model.config.model_type == "bert" else {}
    with torch.no_grad():
        logits = mlm.model(ids, **more).logits[0, 1 + first - low]
    tokens = tokenizer.convert_ids_to_tokens(logits.argsort(descending=True).tolist())
    word = text[start:end].lower()
    known = ["good", "bad", "film", "play", "music", "book", "table"]  # whole, and no stop words
    return [token for token in tokens if token in known and token != word]


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "modernbert", "mobilebert"])
def test_with_one_word_a_pass_candidates_are_those_of_the_authors_loop(
    tokenizer: BertTokenizerFast, kind: str
) -> None:
    mlm = MaskedLM(tiny(kind), tokenizer)
    found = by_model(asks_of(TEXTS), Augment(together=0, candidates=5), mlm)
    assert len(found) == sum(len(words_of(text)) for text in TEXTS) == 14
    for (i, j), words in found.items():
        assert words == plainly(mlm, TEXTS[i], *cut(TEXTS[i]).spans[j])[:5]


def seen(mlm: MaskedLM, texts: Sequence[str], chosen: Augment) -> tuple[Any, list[list[int]]]:
    """What by_model finds, and the rows of ids that the model sees, padding left out."""
    rows: list[list[int]] = []

    def watch(_: Any, __: Any, inputs: dict[str, torch.Tensor]) -> None:
        for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True):
            rows.append(ids[mask.bool()].tolist())

    handle = mlm.model.register_forward_pre_hook(watch, with_kwargs=True)
    found = by_model(asks_of(texts), chosen, mlm)
    handle.remove()
    return found, rows


@pytest.mark.parametrize(
    ("together", "hidden"), [(0.0, [1] * 6), (0.2, [2, 2, 2]), (0.5, [3, 3]), (1.0, [6])]
)
def test_each_word_is_hidden_once_and_no_pass_hides_more_than_its_share(
    tokenizer: BertTokenizerFast, together: float, hidden: list[int]
) -> None:
    text = "good film of the bad music and play book"  # nine tokens, six of them to replace
    found, rows = seen(MaskedLM(tiny("bert"), tokenizer), [text], Augment(together=together))
    assert len(found) == 6
    assert [row.count(4) for row in rows] == hidden
    for row in rows:  # the second segment shows the whole text
        assert row[-10:] == [*tokenizer(text, add_special_tokens=False)["input_ids"], 3]


def test_candidates_do_not_depend_on_what_else_is_in_the_batch(
    tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlm, chosen = MaskedLM(tiny("bert"), tokenizer), Augment(candidates=5)
    together = by_model(asks_of(TEXTS), chosen, mlm)
    monkeypatch.setattr(candidates, "TOKENS", 1)
    assert by_model(asks_of(TEXTS), chosen, mlm) == together
    for i, text in enumerate(TEXTS):
        alone = by_model(asks_of([text]), chosen, mlm)
        assert {(i, j): words for (_, j), words in alone.items()} == {
            key: words for key, words in together.items() if key[0] == i
        }


def test_of_a_text_longer_than_the_model_a_window_around_each_word_is_read(
    tokenizer: BertTokenizerFast,
) -> None:
    dice = random.Random(0)
    text = " ".join(dice.choices(["film", "music", "the", "of", "good"], k=200))
    mlm = MaskedLM(tiny("bert"), tokenizer)
    found, rows = seen(mlm, [text], Augment(together=0, candidates=5))
    spans = cut(text).spans
    assert len(found) == len(spans)
    assert max(map(len, rows)) == 61  # of 64 positions, of which RoBERTa could not use two
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    for row in rows:
        place, window = row.index(4) - 1, row[31:-1]
        assert len(window) == 29
        starts = [k for k in range(172) if ids[k : k + 29] == window]
        assert len(starts) == 1
        # a quarter of the window on either side, or the text's own end
        assert place >= min(7, starts[0] + place)
        assert 28 - place >= min(7, 199 - starts[0] - place)
    where = text[: spans[60][0]].count(" ")
    low = next(k for k in (98, 84, 70) if k + 7 <= where < k + 22)  # half windows of 14 apart
    assert found[0, 60] == plainly(mlm, text, *spans[60], window=(low, low + 29))[:5]


def test_a_word_of_several_pieces_is_hidden_as_one_unless_vectors_know_it(
    tokenizer: BertTokenizerFast,
) -> None:
    mlm = MaskedLM(tiny("bert"), tokenizer)
    asks, chosen = asks_of(["good zebra of a film"]), Augment(together=0, candidates=5)
    found = candidates.candidates(asks, chosen, None, mlm)[0]
    assert found[1] == plainly(mlm, "good zebra of a film", 5, 10)[:5]
    known = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    vectors = Vectors(("bear", "moon"), known, {"zebra": torch.tensor([0.1, 0.9])}.get)
    assert candidates.candidates(asks, chosen, vectors, mlm)[0] == [
        found[0],
        ["moon", "bear"],
        found[2],
    ]


@pytest.fixture(scope="module")
def byte_pairs() -> PreTrainedTokenizerFast:
    """RoBERTa's kind of tokenizer: a token that begins a word holds the space before it."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    marks = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=marks,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    inner.train_from_iterator(["a café and a film, a filming and the music of a café"] * 9, trainer)
    pair = "<s>:0 $A:0 </s>:0 </s>:0 $B:0 </s>:0"
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair=pair, special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = dict(zip(("bos", "pad", "eos", "unk", "mask"), marks, strict=True))
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, **{f"{key}_token": mark for key, mark in names.items()}
    )


def test_of_byte_pairs_whole_words_are_the_tokens_that_begin_with_a_space(
    byte_pairs: PreTrainedTokenizerFast,
) -> None:
    mlm = MaskedLM(tiny("roberta", vocab_size=len(byte_pairs)), byte_pairs)
    assert {"café", "film", "music", "filming"} <= set(mlm.words.values())
    assert not {"ing", "ilm", "afé"} & set(mlm.words.values())
    text = "a film of music, café "
    found, rows = seen(mlm, [text], Augment(together=0, candidates=3))
    ids = byte_pairs(text, add_special_tokens=False)["input_ids"]
    assert len(found) == 3
    for row in rows:
        assert row[len(ids) + 1 :] == [2, 2, *ids, 2]  # <s> a </s></s> b </s>
    assert all(set(words) <= set(mlm.words.values()) for words in found.values())


def test_the_nearest_words_are_those_of_the_largest_cosine() -> None:
    # by hand, cosines to (1, 0): film 1, movie 0.8, music 0.6, book 0, table -1
    table = {"Film": [2, 0], "film": [1, 0], "movie": [8, 6], "music": [3, 4], "book": [0, 5]}
    matrix = torch.nn.functional.normalize(torch.tensor([*table.values(), [-1, 0]]).float())
    vectors = Vectors((*table, "table"), matrix, {"film": torch.tensor([3.0, 0.0])}.get)
    assert nearest(vectors, ["film", "moon"], 3) == {"film": ["movie", "music", "book"], "moon": []}
    assert nearest(vectors, ["film"], 9)["film"] == ["movie", "music", "book", "table"]


def test_a_models_own_vectors_are_its_embeddings_of_words_that_are_one_token(
    tokenizer: BertTokenizerFast,
) -> None:
    mlm = MaskedLM(tiny("bert"), tokenizer)
    vectors, table = vectors_of(mlm), mlm.model.get_input_embeddings().weight
    assert vectors.words == ("good", "bad", "film", "play", "music", "book", "table")
    good = table[tokenizer.convert_tokens_to_ids("good")]
    assert torch.equal(vectors.find("Good"), good)
    assert torch.allclose(vectors.matrix[0], good / good.norm())
    assert vectors.find("zebra") is None  # five pieces


def test_vectors_are_read_from_glove_and_from_fasttext_files(tmp_path: Path) -> None:
    lines = "film 3 0\n, 1 1\nmovie 0.8 0.6\nRome 0 -1e1\n"
    for head in ("", "4 2\n"):
        (tmp_path / "vectors.txt").write_text(head + lines, encoding="utf-8")
        vectors = read_vectors(tmp_path / "vectors.txt")
        assert vectors.words == ("film", "movie", "Rome")
        assert torch.allclose(vectors.matrix, torch.tensor([[1, 0], [0.8, 0.6], [0, -1]]))
        assert vectors.find("Film").tolist() == [3, 0]
        assert vectors.find("zebra") is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("film 1 2\nmovie 1\n", "line 2: not a word and its 2 numbers"),
        ("film 1 2\nmovie 1 x\n", "line 2: not a word and its 2 numbers"),
        ("film 1 2\nmovie 1 1e99\n", "line 2: not a word and its 2 numbers"),
        ("text,label\ngood,1\n", "line 1: not a word and its numbers"),
        (", 1 2\n", "no alphabetic word"),
        ("", "no alphabetic word"),
    ],
)
def test_a_file_that_holds_no_vectors_is_refused_by_its_line(
    tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "vectors.txt").write_text(content)
    with pytest.raises(UserError, match=message):
        read_vectors(tmp_path / "vectors.txt")
