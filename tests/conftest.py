"""What tests share: a tokenizer of 99 words that spells any lowercase ASCII word."""

import os

# models in tests are so small that a second thread costs more than it gives
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import gc
import inspect
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from support.graphs import exported_once
from support.news import logged
from support.vocabulary import VOCABULARY

from alembert.bench import interleaved
from alembert.io import progress

if TYPE_CHECKING:
    from transformers import BertTokenizerFast

hypothesis.settings.register_profile("tests", deadline=None)  # by the clock, of a busy machine
hypothesis.settings.load_profile("tests")


@pytest.fixture(scope="session")
def tokenizer() -> "BertTokenizerFast":
    """[PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, [MASK] 4, then a = 5 ... z = 30, and so on: 99 words."""
    from transformers import BertTokenizerFast

    return BertTokenizerFast(vocab={word: i for i, word in enumerate(VOCABULARY)})


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory, tokenizer: "BertTokenizerFast") -> Path:
    """A tiny classifier of down, flat, up for 64 tokens, exported as ONNX; not to be changed."""
    from support.models import tiny

    from alembert.export.export import export

    home = tmp_path_factory.mktemp("models") / "classification"
    names = dict(enumerate(("down", "flat", "up")))
    tiny("bert", "classification", id2label=names).save_pretrained(home)
    tokenizer.save_pretrained(home)
    export(str(home), ["onnx"], None, 64)
    return home


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Caches of tests go to a folder of their own, never to the user's."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def briefly_timed() -> None:
    """A run ends with the times of its models on 24 texts and not on hundreds."""
    interleaved.MOST = 24


@pytest.fixture(scope="session", autouse=True)
def no_first_line() -> None:
    """The line that says that a command has begun comes late, so that none meets it by chance."""
    progress.FIRST = progress.EVERY


@pytest.fixture(scope="session", autouse=True)
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A model's graph is traced once for all tests, which takes most of an export's seconds."""
    home = tmp_path_factory.getbasetemp()
    home = home.parent / "graphs" if "PYTEST_XDIST_WORKER" in os.environ else home / "graphs"
    home.mkdir(exist_ok=True)
    with exported_once(home):
        yield


@pytest.fixture
def news() -> Iterator[list[str]]:
    """The messages that the package logs during a test."""
    with logged() as lines:
        yield lines


@pytest.fixture(autouse=True)
def frozen() -> None:
    """What is loaded by now stays: collecting garbage, as every stage does, looks at the rest."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """A test of the clock has three tries: a busy machine spoils some."""
    if pyfuncitem.get_closest_marker("clock") is None:
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    for _ in range(2):
        with suppress(AssertionError):
            pyfuncitem.obj(**arguments)
            return True
    pyfuncitem.obj(**arguments)
    return True
