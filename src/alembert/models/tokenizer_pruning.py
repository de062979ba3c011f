"""Prunes a tokenizer's vocabulary: which tokens must stay, and tokenizer.json without the rest."""

import copy
import json
from collections.abc import Iterable, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from alembert.io.errors import UserError

State = dict[str, Any]  # the content of tokenizer.json
KINDS = ("WordPiece", "BPE", "Unigram")


def state_of(tokenizer: PreTrainedTokenizerBase, path: str) -> State:
    """A tokenizer as tokenizer.json. Raises UserError for a kind that cannot be pruned."""
    state: State = json.loads(tokenizer.backend_tokenizer.to_str())
    model = state["model"]
    why = "" if model["type"] in KINDS else f"of the kind {model['type']}, not {', '.join(KINDS)}"
    if model["type"] == "BPE":
        for field in ("continuing_subword_prefix", "end_of_word_suffix", "dropout"):
            why = why or (f"a BPE with a {field}" if model.get(field) else "")
    if why:
        raise UserError(f"{path}: its tokenizer is {why}: its vocabulary cannot be trimmed")
    return state


def ids_of(state: State) -> dict[str, int]:
    """{token: id} of the tokenizer's model, without added tokens."""
    vocabulary = state["model"]["vocab"]
    if isinstance(vocabulary, dict):
        return vocabulary
    return {token: number for number, (token, _) in enumerate(vocabulary)}


def required_ids(state: State) -> set[int]:
    """Ids that stay whatever the texts: added tokens, the unknown token, and single characters.

    With these any text can be tokenised, as before or into smaller tokens.
    """
    model, ids = state["model"], ids_of(state)
    prefix = (model.get("continuing_subword_prefix") or "") if model["type"] == "WordPiece" else ""
    stay = {token["id"] for token in state["added_tokens"]}
    stay |= {
        number
        for token, number in ids.items()
        if len(token) == 1
        or (prefix and token.startswith(prefix) and len(token) == len(prefix) + 1)
        or (model.get("byte_fallback") and token.startswith("<0x"))
    }
    if (unknown := ids.get(model.get("unk_token") or "")) is not None:
        stay.add(unknown)
    if model["type"] == "Unigram":
        if model["unk_id"] is not None:
            stay.add(model["unk_id"])
        scores = [score for _, score in model["vocab"]]
        stay.add(scores.index(min(scores)))  # an unknown character's score is relative to it
    return stay


class Dependencies:
    """The ids that each token depends on: in BPE those that it is merged from."""

    def __init__(self, state: State) -> None:
        self.parts: dict[int, set[int]] = {}
        ids = ids_of(state)
        for left, right in state["model"].get("merges", ()):
            self.parts.setdefault(ids[left + right], set()).update((ids[left], ids[right]))

    def of(self, number: int, present: set[int]) -> set[int]:
        """The token and its dependencies, direct and indirect, without those in `present`."""
        missing: set[int] = set()
        pending = [number]
        while pending:
            token = pending.pop()
            if token not in present and token not in missing:
                missing.add(token)
                pending.extend(self.parts.get(token, ()))
        return missing


def choose_ids(
    state: State, stay: Iterable[int], keep: int | None, coverage: float, *texts: Sequence[int]
) -> list[int]:
    """The kept ids, ascending: those in `stay`, then the most frequent in the texts.

    texts are counts of each id, (V,) each; the first counts rank ids before the next. keep is the
    largest number of ids; None keeps enough for a `coverage` share of all occurrences.
    Raises UserError when `stay` alone exceeds `keep`.
    """
    graph, kept = Dependencies(state), set[int]()
    counts = [sum(each) for each in zip(*texts, strict=True)]
    for number in stay:
        kept |= graph.of(number, kept)
    if keep is not None and keep < len(kept):
        raise UserError(
            f"--keep {keep}: special tokens and single characters alone are {len(kept):,}: keep "
            "more"
        )
    target, covered = coverage * sum(counts), sum(counts[number] for number in kept)
    seen = (number for number, count in enumerate(counts) if count)
    for number in sorted(seen, key=lambda n: (*(-each[n] for each in texts), n)):
        if keep is None and covered >= target:
            break
        missing = graph.of(number, kept)
        if keep is not None and len(kept) + len(missing) > keep:
            break
        kept |= missing
        covered += sum(counts[token] for token in missing)
    return sorted(kept)


def prune(state: State, kept: Sequence[int]) -> State:
    """tokenizer.json with these ids alone, renumbered in the same order.

    A text that used neither a removed nor the unknown token is tokenised as before: WordPiece
    takes the longest match among fewer candidates, Unigram the best path among fewer, and BPE
    makes the same merges in the same order, since the parts of every kept token are kept.
    """
    new = {old: number for number, old in enumerate(kept)}
    state = copy.deepcopy(state)
    model, ids = state["model"], ids_of(state)
    if model["type"] == "Unigram":
        model["vocab"] = [model["vocab"][old] for old in kept if old < len(model["vocab"])]
        if model["unk_id"] is not None:
            model["unk_id"] = new[model["unk_id"]]
    else:
        order = sorted(ids.items(), key=lambda item: item[1])
        model["vocab"] = {token: new[old] for token, old in order if old in new}
    if model["type"] == "BPE":
        model["merges"] = [
            [left, right]
            for left, right in model["merges"]
            if {left, right, left + right} <= model["vocab"].keys()
        ]
    for token in state["added_tokens"]:
        token["id"] = new[token["id"]]
    if state["padding"]:
        state["padding"]["pad_id"] = new[state["padding"]["pad_id"]]
    _renumber(state["post_processor"], new)
    return state


def _renumber(processor: State | None, new: dict[int, int]) -> None:
    """Writes the new ids of [CLS], [SEP] and their like into a post-processor, in place."""
    if processor is None:
        return
    for each in processor.get("processors", ()):
        _renumber(each, new)
    for token in (processor.get("special_tokens") or {}).values():
        token["ids"] = [new[old] for old in token["ids"]]
    for name in ("cls", "sep"):
        if name in processor:
            processor[name] = [processor[name][0], new[processor[name][1]]]
