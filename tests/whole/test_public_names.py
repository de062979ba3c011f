"""The public names of the package, whatever else was imported before.

A room is named `search`, and so is a public function: each order of imports has an interpreter of
its own, for the first import of a module binds it in its package.
"""

import inspect
import subprocess
import sys
from itertools import permutations

import pytest

import alembert

ROOM = {
    "function": "from alembert import search; assert callable(search)",
    "module": "import alembert.search.trials; assert alembert.search.trials.HOME",
    "renamed": "import alembert.search.trials as t; assert t.HOME",
    "name": "from alembert.search.search import FILE; assert FILE",
    "room": "from alembert.search import space; assert space.Budget",
}
IS_FUNCTION = """
import inspect, alembert, alembert.api
assert inspect.isfunction(alembert.search), alembert.search
assert alembert.search is alembert.api.search
from alembert import search
assert search is alembert.search and "teacher" in inspect.signature(search).parameters
import alembert.search.halving
assert alembert.search is search
"""


def ran(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    return done.stderr


@pytest.mark.parametrize("order", [*permutations(["function", "module", "name"])], ids="-".join)
def test_search_is_the_function_in_every_order_of_imports(order: tuple[str, ...]) -> None:
    assert ran("\n".join([*(ROOM[name] for name in order), IS_FUNCTION])) == ""


@pytest.mark.parametrize("first", ["renamed", "room"])
def test_other_ways_into_the_room_work_before_and_after_the_function(first: str) -> None:
    assert ran("\n".join([ROOM[first], ROOM["function"], IS_FUNCTION, ROOM[first]])) == ""


def test_public_names_are_found_and_no_module() -> None:
    for name in alembert.__all__:
        assert not inspect.ismodule(getattr(alembert, name))
        assert name in dir(alembert)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = alembert.nothing
