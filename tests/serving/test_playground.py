"""The playground in a browser shows what the models say, by mouse and by keys, wide and narrow."""

import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import uvicorn
from support.serving import facts_of
from transformers import BertTokenizerFast

from alembert.inference import Session
from alembert.io.answers import QUESTIONS
from alembert.serving.app import app_of
from alembert.serving.served_model import AttentionModel, ServedModel
from alembert.serving.service import Limits, Opener

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on the PATH")

# chances of labels; and the teacher's of a text with "bad" in it
TEACHER = {"down": 0.125, "flat": 0.375, "up": 0.5}
UPSET = {"down": 0.5, "flat": 0.375, "up": 0.125}
STUDENT = {"up": 0.52, "flat": 0.28, "down": 0.2}
REST = 0.25 / 97  # the chance of every word but "good" and "bad"
Chances = dict[str, float]
Visit = Callable[..., AbstractContextManager[Any]]


def sharpened(chances: Sequence[float], temperature: float) -> list[float]:
    """In per cent: softmax(log(p) / T) is p ** (1 / T), made to add up to 1."""
    raised = [chance ** (1 / temperature) for chance in chances]
    return [100 * each / sum(raised) for each in raised]


def classifier(plain: Chances, bad: Chances, word: int) -> Any:
    def engine(inputs: Any) -> Any:
        found = (inputs["input_ids"] == word).any(1, keepdims=True)
        return np.log(np.where(found, [*bad.values()], [*plain.values()])).astype(np.float32)

    return engine


def guesser(chances: dict[int, float]) -> Any:
    """At every mask these words have these chances, the other 97 share a quarter."""
    row = np.log([chances.get(word, REST) for word in range(99)]).astype(np.float32)
    return lambda inputs: np.repeat(row[None], len(inputs["places"]), 0)


def looking(inputs: Any) -> list[Any]:
    """Two layers of two heads: all look at themselves; in layer 2, head 2 at the first token."""
    count = inputs["input_ids"].shape[1]
    itself, first = np.eye(count), np.eye(1, count).repeat(count, 0)
    return [None, np.array([[[itself, itself]], [[itself, first]]], np.float32)]


def lines_apart(inputs: Any) -> Any:
    """Vectors of length 1, at 60 degrees where texts begin with a letter and with another word."""
    letters = inputs["input_ids"][:, 1:2] < 31
    return np.where(letters, [1.0, 0.0], [0.5, 0.75**0.5]).astype(np.float32)


def finder(word: int) -> Any:
    """Logits (B, T, 2) that answer with this word, and with nothing where it is not there."""

    def engine(inputs: Any) -> Any:
        ids = inputs["input_ids"]
        logits = np.where((ids == word)[..., None], 8.0, 0.0).repeat(2, -1).astype(np.float32)
        logits[:, 0] = 4.0
        return logits

    return engine


def openers_of(folder: Path, tokenizer: BertTokenizerFast) -> list[Opener]:
    tokenizer.save_pretrained(folder)
    good, bad = tokenizer.convert_tokens_to_ids(["good", "bad"])

    def opener(name: str, kind: str, engine: Any, large: bool, labels: Any = ()) -> Opener:
        parameters = 109_500_000 if large else 7_443
        facts = replace(facts_of(kind, labels), parameters=parameters, null_threshold=0.0)
        precision, size = ("fp32", 438.0) if large else ("int8", 0.0148)
        variant = replace(facts.variants[0], precision=precision, size_mb=size)
        graph: Any = SimpleNamespace(outputs=looking)
        attending = AttentionModel("teacher", lambda: graph) if large else None
        session = Session(folder, facts=facts, engine=engine)
        return lambda: ServedModel(name, session, variant, attending)

    student = classifier(STUDENT, STUDENT, bad)
    return [
        opener("teacher", "classification", classifier(TEACHER, UPSET, bad), True, TEACHER),
        opener("student", "classification", student, False, STUDENT),
        opener("intents", "classification", student, False, ("book", "play", "pay")),
        opener("words", "words", guesser({good: 0.5, bad: 0.25}), True),
        opener("few-words", "words", guesser({good: 0.25, bad: 0.5}), False),
        opener("vectors", "encoder", lines_apart, False),
        opener("finder", QUESTIONS, finder(good), False),
    ]


@pytest.fixture(scope="module")
def address(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: BertTokenizerFast
) -> Iterator[str]:
    """A server of models whose answers are known."""
    openers = openers_of(tmp_path_factory.mktemp("models"), tokenizer)
    app, _ = app_of(openers, Limits(), wait=True)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        end = time.monotonic() + 20
        while not server.started and thread.is_alive() and time.monotonic() < end:
            time.sleep(0.01)
        assert server.started
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def visit(address: str) -> Iterator[Visit]:
    """Opens the page; at the end nothing was on the console, asked elsewhere or too wide."""
    with playwright.sync_playwright() as play:
        expect.set_options(timeout=10_000)
        browser = play.chromium.launch(executable_path=CHROMIUM)

        @contextmanager
        def opened(width: int = 1280, before: str = "") -> Iterator[Any]:
            page = browser.new_page(viewport={"width": width, "height": 800})
            page.set_default_timeout(10_000)
            console, urls = list[str](), list[str]()
            page.on("console", lambda message: console.append(message.text))
            page.on("pageerror", lambda error: console.append(str(error)))
            page.on("request", lambda request: urls.append(request.url))
            page.add_init_script(before)
            page.goto(address)
            expect(card(page, "teacher")).to_be_visible()
            yield page
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert console == []
            assert [url for url in urls if not url.startswith((address, "data:"))] == []
            page.close()

        yield opened
        browser.close()


@pytest.mark.parametrize("width", [1280, 375])
def test_a_context_is_shown_with_its_answer_marked(visit: Visit, width: int) -> None:
    with visit(width) as page:
        pick(page, "finder", "finder")
        context = page.get_by_label("Context, in which the answer is sought")
        expect(context).to_have_value(re.compile("The bridge was opened"))
        text(page).fill("how was it")
        context.fill("\N{BOOK} the film was good , they said")
        expect(page.locator("mark")).to_have_text("good")
        expect(card(page, "finder")).to_contain_text("they said")
        context.fill("the film was bad")
        expect(card(page, "finder")).to_contain_text("The context has no answer.")
        expect(page.locator("mark")).to_have_count(0)
        context.fill("")
        says(page, "Write a context below the question.")


def text(page: Any) -> Any:
    return page.get_by_role("textbox", name="Text", exact=True)


def card(page: Any, name: str) -> Any:
    return page.get_by_role("region", name=name, exact=True)


def says(page: Any, words: str) -> None:
    expect(page.get_by_role("status").last).to_have_text(words)


def pick(page: Any, left: str, right: str) -> None:
    page.get_by_label("Left model").select_option(left)
    page.get_by_label("Right model").select_option(right)


def shows(page: Any, name: str, words: Sequence[str], chances: Sequence[float]) -> None:
    """The card has these chances in its first rows, the rows in this order."""
    rows = card(page, name).get_by_role("row")
    for i, (word, chance) in enumerate(zip(words, chances, strict=True)):
        expect(rows.nth(i)).to_have_text(f"{word}{chance:.1f} %")


@pytest.mark.parametrize("width", [1280, 375])
def test_teacher_and_student_answer_a_typed_text_side_by_side(visit: Visit, width: int) -> None:
    with visit(width) as page:
        says(page, "both say up; furthest apart at flat, 9.5 points.")
        text(page).fill("the film was bad")
        says(page, "teacher says down, student up; furthest apart at up, 39.5 points.")
        expect(page.get_by_text("at least 5 points apart")).to_be_visible()
        order = ("up", "down", "flat")
        shows(page, "teacher", order, [100 * UPSET[label] for label in order])
        shows(page, "student", order, [100 * STUDENT[label] for label in order])
        facts = r"{} parameters, {}, answered in \d+\.\d ms"
        for name, told in (
            ("teacher", ("110M", "438 MB fp32")),
            ("student", ("7.44K", "0.0148 MB int8")),
        ):
            expect(card(page, name)).to_contain_text(re.compile(facts.format(*told)))
        left, right = (card(page, name).bounding_box() for name in ("teacher", "student"))
        if width == 375:
            assert right["y"] >= left["y"] + left["height"]
        else:
            assert (left["y"], left["height"]) == (right["y"], right["height"])
            assert right["x"] >= left["x"] + left["width"]


@pytest.mark.parametrize(
    ("key", "temperature"), [("Home", 0.25), ("ArrowRight", 2**0.1), ("End", 8)]
)
def test_the_slider_moves_what_is_thought_of_words_and_labels(
    visit: Visit, key: str, temperature: float
) -> None:
    with visit(375) as page:
        slider = page.get_by_role("slider", name="Temperature", exact=True)
        slider.press(key)
        expect(slider).to_have_attribute("aria-valuetext", f"{temperature:.2f}")
        labels = ("up", "flat", "down")
        shows(page, "teacher", labels, sharpened([TEACHER[each] for each in labels], temperature))
        pick(page, "words", "few-words")
        text(page).fill("the [MASK] was bad")
        ours = sharpened([0.5, 0.25] + [REST] * 97, temperature)[:2]
        shows(page, "words", ("good", "bad"), ours)
        shows(page, "few-words", ("good", "bad"), ours[::-1])
        gap = f"{ours[0] - ours[1]:.1f} points"
        says(page, f"words says good, few-words bad; furthest apart at good, {gap}.")


def test_only_models_of_the_same_labels_are_compared(visit: Visit) -> None:
    with visit() as page:
        pick(page, "teacher", "intents")
        expect(card(page, "intents")).to_contain_text("book")
        says(page, "")
        assert "book" not in card(page, "teacher").inner_text()
        page.get_by_label("Left model").select_option("words")
        expect(page.get_by_label("Right model")).to_have_value("few-words")


def test_what_cannot_be_asked_is_said_and_no_old_answer_stays(visit: Visit) -> None:
    with visit() as page:
        pick(page, "words", "few-words")
        expect(card(page, "few-words")).to_be_visible()
        for given, words in (
            ("no mask", "Write [MASK] where a word is to be guessed."),
            (" ", "Write a text."),
        ):
            text(page).fill(given)
            says(page, words)
            expect(page.get_by_role("region")).to_have_count(0)
            expect(page.get_by_label("Attention layer")).to_be_hidden()


def test_attentions_are_drawn_and_told_in_words(visit: Visit) -> None:
    with visit(375) as page:
        text(page).fill("good film")
        picture = page.get_by_role("img", name="teacher: attention, layer 1 of 2, mean of heads")
        page.get_by_text("Where each token looks most").press("Enter")
        told = page.locator("figure").get_by_role("listitem")
        itself = [f"{token} → {token} 1.00" for token in ("[CLS]", "good", "film", "[SEP]")]
        expect(told).to_have_text(itself)
        drawn = picture.evaluate("canvas => canvas.toDataURL()")
        page.get_by_label("Attention layer").fill("9")
        page.get_by_label("Head (0: their mean)").fill("2")
        picture = page.get_by_role("img", name="teacher: attention, layer 2 of 2, head 2 of 2")
        expect(picture).to_be_visible()
        expect(told).to_have_text(
            [f"{token} → [CLS] 1.00" for token in ("[CLS]", "good", "film", "[SEP]")]
        )
        assert picture.evaluate("canvas => canvas.toDataURL()") != drawn


MANUAL = "window.setTimeout = () => 0"  # so that nothing is asked without a key


def test_tab_goes_through_the_page_in_reading_order_and_every_stop_has_a_name(visit: Visit) -> None:
    with visit() as page:
        expect(page.get_by_role("img")).to_be_visible()
        expect(text(page)).to_be_focused()
        for role, name in (
            ("textbox", "Second text, for models of pairs (may stay empty)"),
            ("combobox", "Left model"),
            ("combobox", "Right model"),
            ("slider", "Temperature"),
            ("button", "Ask"),
            ("spinbutton", "Attention layer"),
            ("spinbutton", "Head (0: their mean)"),
        ):
            page.keyboard.press("Tab")
            expect(page.get_by_role(role, name=name, exact=True)).to_be_focused()
        page.keyboard.press("Tab")
        expect(page.get_by_text("Where each token looks most")).to_be_focused()


def test_enter_asks_and_shift_enter_begins_a_line(visit: Visit) -> None:
    with visit(before=MANUAL) as page:
        text(page).fill("the film was")
        text(page).press("Shift+Enter")
        text(page).press_sequentially("bad")
        says(page, "both say up; furthest apart at flat, 9.5 points.")
        text(page).press("Enter")
        says(page, "teacher says down, student up; furthest apart at up, 39.5 points.")
        expect(text(page)).to_have_value("the film was\nbad")


def test_in_texts_whose_lines_are_compared_ctrl_enter_asks(visit: Visit) -> None:
    with visit(before=MANUAL) as page:
        pick(page, "vectors", "vectors")
        expect(card(page, "vectors")).to_be_visible()
        text(page).fill("a")
        text(page).press("Enter")
        text(page).press_sequentially("film")
        text(page).press("Control+Enter")
        expect(card(page, "vectors").get_by_role("row")).to_have_text(["line 1 and 20.500"])


def test_both_models_answer_one_text_while_another_is_being_typed(visit: Visit) -> None:
    with visit(before=MANUAL) as page:
        asked = list[Any]()
        page.on("request", lambda request: asked.append(request.post_data_json["inputs"]))
        text(page).fill("good")
        with page.expect_response("**/attentions"):
            page.evaluate("form.requestSubmit(); text.value = 'bad'")
        for _ in range(100):  # the browser tells of requests later than of the answer to the last
            if len(asked) < 3:
                page.wait_for_timeout(20)
        assert asked == [["good"], ["good"], "good"]
