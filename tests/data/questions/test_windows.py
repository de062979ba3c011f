"""Windows of questions: their tokens, their places in the context, and their labels."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.questions import asked, learnable, squad
from transformers import BertTokenizerFast

from alembert.data.collate import pad
from alembert.data.encoded import IGNORED, concat
from alembert.data.questions.windows import END, START, Asked, Windows, encode_questions
from alembert.data.splits import Files, prepare
from alembert.io.errors import UserError

QUESTION = "is the film good"
CONTEXT = "the book was bad and the music was very good"  # a token a word


def windows(tokenizer: BertTokenizerFast, length: int, overlap: int, *asked: Asked) -> Windows:
    return encode_questions(asked, tokenizer, length, overlap)


def question(answer: str | None, name: str = "a") -> Asked:
    """The question about CONTEXT with an answer; "" for none, and None for one that is not told."""
    if answer is None:
        return Asked(id=name, text=QUESTION, context=CONTEXT, answers=None)
    starts = (CONTEXT.index(answer),) if answer else ()
    return Asked(
        id=name, text=QUESTION, context=CONTEXT, answers=(answer,) if answer else (), starts=starts
    )


def test_windows_overlap_and_cover_the_context(tokenizer: BertTokenizerFast) -> None:
    # [CLS] 4 tokens [SEP] 4 of the context [SEP]
    read = windows(tokenizer, 11, 2, question("music"))
    texts = [tokenizer.decode(read[i]["input_ids"][6:-1]) for i in range(len(read))]
    assert texts == [
        "the book was bad", "was bad and the", "and the music was", "music was very good",
    ]  # fmt: skip
    assert read.places.tolist() == [0, 2, 4, 6]
    assert read.texts.tolist() == [0, 0, 0, 0]
    spans = read.questions[0].offsets
    assert [CONTEXT[a:b] for a, b in spans] == CONTEXT.split()
    assert [read.tokens(i).tolist() for i in range(4)] == [[6, 7, 8, 9]] * 4


def test_a_window_without_the_whole_answer_has_its_label_at_the_first_token(
    tokenizer: BertTokenizerFast,
) -> None:
    read = windows(tokenizer, 11, 2, question("music was"))
    both, no = START | END, IGNORED
    none = [both, no, no, no, no, no, 0, 0, 0, 0, no]
    found = [read[i]["spans"] for i in range(4)]
    assert found[0] == found[1] == none
    assert found[2] == [0, no, no, no, no, no, 0, 0, START, END, no]
    assert found[3] == [0, no, no, no, no, no, START, END, 0, 0, no]
    assert windows(tokenizer, 11, 2, question(""))[2]["spans"] == none
    assert windows(tokenizer, 11, 2, question(None))[2]["spans"] == [0, *none[1:]]
    one = windows(tokenizer, 11, 2, question("bad"))[0]["spans"]
    assert one == [0, no, no, no, no, no, 0, 0, 0, both, no]


def test_a_batch_has_spans_in_place_of_labels(tokenizer: BertTokenizerFast) -> None:
    read = windows(
        tokenizer,
        11,
        2,
        question("music"),
        Asked(id="b", text=QUESTION, context="bad", answers=(), starts=()),
    )
    batch = pad([read[0], read[4]], 0)
    assert "labels" not in batch
    assert batch["spans"].shape == batch["input_ids"].shape
    assert batch["spans"][1, -3:].tolist() == [IGNORED] * 3


def test_rows_are_taken_and_joined_with_their_questions(tokenizer: BertTokenizerFast) -> None:
    first = windows(tokenizer, 11, 2, question("music"))
    second = windows(tokenizer, 11, 0, question("book", "b"))
    both = concat(first, second)
    assert isinstance(both, Windows)
    assert both.texts.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert both.places.tolist() == [0, 2, 4, 6, 0, 4, 8]
    assert [each.id for each in both.questions] == ["a", "b"]
    taken = both.take(np.array([5, 0]))
    assert taken.texts.tolist() == [1, 0]
    assert taken.places.tolist() == [4, 0]
    assert taken[0] == both[5]


def test_a_long_question_is_cut_to_half_a_window_and_counted(tokenizer: BertTokenizerFast) -> None:
    read = windows(
        tokenizer, 11, 1, Asked(id="a", text="good " * 9, context=CONTEXT, answers=(), starts=())
    )
    assert read[0]["input_ids"][:6] == [*tokenizer("good good good good")["input_ids"]]
    assert read.truncated == 1
    with pytest.raises(UserError, match="--max-length 10: a question"):
        windows(tokenizer, 10, 1, question("music"))


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(11, 40), overlap=st.integers(0, 20), words=st.integers(1, 60),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_every_token_is_where_its_place_says(
    tokenizer: BertTokenizerFast, length: int, overlap: int, words: int, seed: int
) -> None:
    dice = np.random.default_rng(seed)
    context = "  ".join(dice.choice(CONTEXT.split(), words))
    read = windows(
        tokenizer, length, overlap, Asked(id="a", text=QUESTION, context=context, answers=None)
    )
    offsets, seen = read.questions[0].offsets, np.zeros(words, bool)
    for i in range(len(read)):
        ids = np.array(read[i]["input_ids"])[read.tokens(i)]
        places = read.places[i] + np.arange(len(ids))
        told = [context[a:b] for a, b in offsets[places]]
        assert tokenizer.convert_ids_to_tokens(ids.tolist()) == told
        seen[places] = True
        assert read.lengths[i] <= length
    assert seen.all()


def test_held_out_questions_share_no_context_with_those_to_learn_from(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    files = Files(train=learnable(tmp_path / "q.json", 60))
    splits = prepare(files, tokenizer, 24, None, 0)
    assert splits.task.kind == "question answering"
    assert (splits.task.metric, splits.task.labels) == ("f1", ("start", "end"))
    assert isinstance(splits.train, Windows)
    assert isinstance(splits.valid, Windows)
    contexts = [{each.context for each in part.questions} for part in (splits.train, splits.valid)]
    assert len(splits.valid.questions) == 3
    assert not contexts[0] & contexts[1]


def test_unlabelled_questions_are_learnt_without_answers(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    more = tmp_path / "more.csv"
    more.write_text(f"question,context\n{QUESTION},{CONTEXT}\n")
    files = Files(train=learnable(tmp_path / "q.json"), unlabelled=str(more))
    splits = prepare(files, tokenizer, 24, None, 0)
    last = splits.train[len(splits.train) - 1]
    assert set(last["spans"]) == {0, IGNORED}


def test_a_context_of_many_questions_is_held_out_only_where_there_is_no_smaller_one(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    def held_out(*sizes: int) -> list[int]:
        """The numbers of the contexts whose questions are held out of so many each."""
        paragraphs = [
            (f"{CONTEXT} {n}", [asked(f"{n} {i}", QUESTION, ("book", 4)) for i in range(size)])
            for n, size in enumerate(sizes)
        ]
        path = squad(tmp_path / f"{sizes}.json", paragraphs)
        valid = prepare(Files(train=path), tokenizer, 24, None, 0).valid
        assert isinstance(valid, Windows)
        return sorted({int(each.context.split()[-1]) for each in valid.questions})

    assert held_out(60, 2, 3) == [2]  # 3 of 65 questions are 5 %
    assert held_out(60, 50) == [1]
    with pytest.raises(UserError, match="all questions are on one context: give --valid"):
        held_out(9)


def test_another_metric_is_refused(tmp_path: Path, tokenizer: BertTokenizerFast) -> None:
    files = Files(train=learnable(tmp_path / "q.json"))
    assert prepare(files, tokenizer, 24, None, 0, "exact_match").task.metric == "exact_match"
    for metric in ("accuracy", "os.path:join"):
        with pytest.raises(UserError, match="question answering has f1 and exact_match alone"):
            prepare(files, tokenizer, 24, None, 0, metric)
