"""A tokenizer cut to some pieces reads texts of these as before, and breaks no other."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.learnt import KINDS, learnt
from tokenizers import Tokenizer

from alembert.io.errors import UserError
from alembert.models import tokenizer_pruning

LETTERS = st.lists(st.text("abcdeg", min_size=1, max_size=7), min_size=1, max_size=5).map(" ".join)


def ids_of(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text).ids)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None)
@given(seen=st.lists(LETTERS, min_size=1, max_size=4), other=LETTERS)
def test_a_text_of_kept_pieces_is_read_as_before_and_no_other_breaks(
    kind: str, seen: list[str], other: str
) -> None:
    before = learnt(kind)
    state = json.loads(before.to_str())
    counts = [0] * before.get_vocab_size()
    for text in seen:
        for number in ids_of(before, text):
            counts[number] += 1
    kept = tokenizer_pruning.choose_ids(
        state, tokenizer_pruning.required_ids(state), None, 1.0, counts
    )
    assert {number for number, count in enumerate(counts) if count} <= set(kept)
    after = Tokenizer.from_str(json.dumps(tokenizer_pruning.prune(state, kept)))
    assert after.get_vocab_size() == len(kept)
    new, unknown = {old: k for k, old in enumerate(kept)}, before.token_to_id("<unk>")
    for text in (*seen, other):
        ids, found = ids_of(before, text), ids_of(after, text)
        if unknown not in ids and set(ids) <= set(kept):
            assert found == [new[number] for number in ids]
            assert after.encode(text).tokens == before.encode(text).tokens
        if kind == "BPE":
            assert after.decode(found) == text
        elif unknown not in ids:  # a smaller piece for each letter that is known
            assert after.token_to_id("<unk>") not in found


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_go_in_the_order_of_their_counts(kind: str) -> None:
    state = json.loads(learnt(kind).to_str())
    stay, size = tokenizer_pruning.required_ids(state), learnt(kind).get_vocab_size()
    rest = [number for number in range(size) if number not in stay]
    counts = [0] * size
    for rank, number in enumerate(rest):
        counts[number] = 1000 - rank
    room = len(stay) + 4
    kept = tokenizer_pruning.choose_ids(state, stay, room, 1.0, counts)
    assert len(kept) <= room
    assert rest[0] in kept
    half = tokenizer_pruning.choose_ids(state, stay, None, 0.5, counts)
    covered = sum(counts[number] for number in half)
    assert 0.5 * sum(counts) <= covered < 0.5 * sum(counts) + 2 * 1000
    with pytest.raises(UserError, match=r"^--keep 3: special tokens and single characters alone"):
        tokenizer_pruning.choose_ids(state, stay, 3, 1.0, counts)


def test_pieces_of_the_task_come_before_those_of_a_corpus_however_frequent() -> None:
    state = json.loads(learnt("WordPiece").to_str())
    stay = tokenizer_pruning.required_ids(state)
    own, other, rare = [n for n in range(learnt("WordPiece").get_vocab_size()) if n not in stay][:3]
    task, corpus = ([0] * learnt("WordPiece").get_vocab_size() for _ in range(2))
    task[own], corpus[own], corpus[other], corpus[rare] = 1, 1, 1000, 2
    kept = [
        tokenizer_pruning.choose_ids(state, stay, len(stay) + k, 1.0, task, corpus) for k in (1, 2)
    ]
    assert set(kept[0]) - stay == {own}
    assert set(kept[1]) - stay == {own, other}
