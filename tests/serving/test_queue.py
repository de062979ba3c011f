"""The queue: like lengths together, the oldest first, and who hangs up is not computed."""

import asyncio
import threading
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alembert.inference.batching import CALL
from alembert.serving.queue import Batch, FailedError, Queue


class Held:
    """A model that notes its batches and waits at a gate."""

    def __init__(self) -> None:
        self.gate, self.batches = threading.Event(), list[list[str]]()

    def __call__(self, rows: Sequence[str]) -> list[str]:
        self.batches.append(list(rows))
        assert self.gate.wait(10)
        return [row.upper() for row in rows]


async def asked(rows: list[list[str]], tokens: int = 512, threads: int = 1) -> tuple[Any, Held]:
    """Answers to requests that all wait behind one first row."""
    model = Held()
    queue = Queue(threads, tokens, cap=1e9)
    first = queue.ask(model, ["first"])
    while not model.batches:
        await asyncio.sleep(0.001)
    futures = [queue.ask(model, each) for each in rows]
    model.gate.set()
    found = [await future for future in futures]
    assert await first == ["FIRST"]
    await asyncio.to_thread(queue.stop)
    return found, model


@given(
    requests=st.lists(
        st.lists(st.integers(1, 70).map(lambda n: "a" * n), min_size=1, max_size=5), max_size=12
    ),
    tokens=st.integers(1, 200),
    threads=st.integers(1, 3),
)
@settings(deadline=None, max_examples=60)
def test_every_row_is_answered_once_in_the_place_of_its_request(
    requests: list[list[str]], tokens: int, threads: int
) -> None:
    found, model = asyncio.run(asked(requests, tokens, threads))
    assert found == [[row.upper() for row in rows] for rows in requests]
    assert sum(map(len, model.batches)) == 1 + sum(map(len, requests))
    for batch in model.batches:
        longest = max(map(len, batch))
        assert len(batch) == 1 or len(batch) * longest <= tokens
        assert sum(longest - len(row) for row in batch) < CALL


def test_rows_of_one_length_share_a_batch_and_others_do_not() -> None:
    rows = [["a" * 30], ["b" * 60], ["c" * 30], ["d" * 60]]
    _, model = asyncio.run(asked(rows))
    assert [[len(row) for row in batch] for batch in model.batches] == [[5], [30, 30], [60, 60]]


def large(letter: str, rows: int = 8) -> list[str]:
    """A request of so many rows of 400 tokens, each a batch of its own."""
    return [letter * 400] * rows


async def order(
    rows: list[list[str]], later: dict[int, list[str]], threads: int = 1, wait: float = 0.0
) -> list[str]:
    """The first letters of batches; the requests of `later` come while a batch is computed."""
    model = Stepped()
    queue = Queue(threads, 512, cap=1e9)
    futures = [queue.ask(model, each) for each in rows]
    total = sum(map(len, rows)) + sum(map(len, later.values()))
    done = 0
    while done < total:
        while not model.running:
            await asyncio.sleep(0.001)
        number = len(model.batches)
        if number in later:
            futures.append(queue.ask(model, later.pop(number)))
            await asyncio.sleep(wait)
        done += model.running.pop(0).finish()
    for future in futures:
        await future
    await asyncio.to_thread(queue.stop)
    return [batch[0][0] for batch in model.batches]


class Stepped:
    """A model whose batches end when the test says so."""

    name = "stepped"

    def __init__(self) -> None:
        self.batches, self.running = list[list[str]](), list[Step]()

    def __call__(self, rows: Sequence[str]) -> list[str]:
        step = Step(len(rows))
        self.batches.append(list(rows))
        self.running.append(step)
        assert step.gate.wait(10)
        return list(rows)


class Step:
    def __init__(self, rows: int) -> None:
        self.gate, self.rows = threading.Event(), rows

    def finish(self) -> int:
        self.gate.set()
        return self.rows


def test_large_requests_take_turns() -> None:
    found = asyncio.run(order([large("a", 4), large("b", 2), large("c", 3)], {}))
    assert "".join(found) == "abcabcaca"


def test_one_that_comes_later_takes_turns_from_then_on() -> None:
    found = asyncio.run(order([large("a", 6)], {3: large("b", 3)}))
    assert "".join(found) == "aaabababa"


def test_a_lone_short_text_waits_at_most_one_batch_beside_large_requests() -> None:
    later = {number: [letter * 9] for number, letter in ((1, "x"), (3, "y"), (9, "z"))}
    found = "".join(asyncio.run(order([large(each, 4) for each in "abcd"], later)))
    assert (found.index("x"), found.index("y"), found.index("z")) == (1, 3, 9)


def test_short_texts_do_not_starve_a_large_request() -> None:
    short = [["s" * 400] for _ in range(20)]
    found = "".join(asyncio.run(order([large("a", 3), *short], {})))
    turns = [number for number, letter in enumerate(found) if letter == "a"]
    assert len(turns) == 3
    # six batches of 400 tokens are over 4 * 512
    assert [later - before for before, later in pairwise(turns)] == [7, 7]


def test_beside_short_texts_one_thread_computes_no_large_request() -> None:
    async def run() -> int:
        model, queue = Stepped(), Queue(2, 512, cap=1e9)
        first = queue.ask(model, ["s"])
        while not model.running:
            await asyncio.sleep(0.001)
        many = queue.ask(model, large("a", 4))
        model.running.pop(0).finish()
        await first
        await asyncio.sleep(0.05)
        computed = len(model.batches) - 1
        while not many.done():
            while model.running:
                model.running.pop(0).finish()
            await asyncio.sleep(0.001)
        await asyncio.to_thread(queue.stop)
        return computed

    assert asyncio.run(run()) == 1


def test_what_waits_is_told_by_the_size_of_a_request() -> None:
    async def run() -> list[float]:
        model, queue = Stepped(), Queue(1, 512, cap=1e9)
        futures = [queue.ask(model, each) for each in (large("a", 3), ["s" * 100])]
        while not model.running:
            await asyncio.sleep(0.001)
        queue._rates[model] = 0.01
        found = [queue.seconds(), queue.seconds(512), queue.seconds(513)]
        while not all(each.done() for each in futures):
            while model.running:
                model.running.pop(0).finish()
            await asyncio.sleep(0.001)
        await asyncio.to_thread(queue.stop)
        return found

    short, batch, more = asyncio.run(run())
    # a batch is being computed: of one large row, or of the short text
    assert short == batch
    assert (short, more) in [(1.0, 9.0), (0.0, 12.0)]


def test_who_hangs_up_is_not_computed() -> None:
    async def run() -> Held:
        model, queue = Held(), Queue(1, 512)
        first = queue.ask(model, ["first"])
        while not model.batches:
            await asyncio.sleep(0.001)
        gone, stays = queue.ask(model, ["gone"] * 3), queue.ask(model, ["stays"])
        gone.cancel()
        model.gate.set()
        assert [await first, await stays] == [["FIRST"], ["STAYS"]]
        assert queue.waiting == 0
        await asyncio.to_thread(queue.stop)
        return model

    assert asyncio.run(run()).batches == [["first"], ["stays"]]


def test_what_waits_is_answered_before_the_threads_end() -> None:
    async def run() -> list[str]:
        model, queue = Held(), Queue(1, 4)
        futures = [queue.ask(model, ["abcd"]) for _ in range(5)]
        stopping = asyncio.create_task(asyncio.to_thread(queue.stop))
        await asyncio.sleep(0.02)
        model.gate.set()
        await stopping
        return [(await future)[0] for future in futures]

    assert asyncio.run(run()) == ["ABCD"] * 5


def test_a_model_that_raises_fails_its_batch_and_no_other() -> None:
    def model(rows: Sequence[str]) -> list[str]:
        if "bad" in rows:
            raise RuntimeError("out of\nluck")
        return list(rows)

    async def run() -> None:
        queue = Queue(1, 3)
        bad, good = queue.ask(model, ["bad"]), queue.ask(model, ["fin"])
        with pytest.raises(FailedError, match="out of luck"):
            await bad
        assert await good == ["fin"]
        await asyncio.to_thread(queue.stop)

    asyncio.run(run())


def test_padding_and_tokens_of_a_batch_are_told() -> None:
    async def run() -> list[Batch]:
        told: list[Batch] = []
        model, queue = Held(), Queue(1, 512, told.append)
        queue.ask(model, ["x"])
        while not model.batches:
            await asyncio.sleep(0.001)
        future = queue.ask(model, ["a" * 10, "a" * 8, "a" * 10])
        model.gate.set()
        await future
        await asyncio.to_thread(queue.stop)
        return told

    last = asyncio.run(run())[-1]
    assert (last.rows, last.tokens, last.padding) == (3, 30, 2)
