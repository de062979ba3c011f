"""The public names of the package, whatever else was imported before.

A room is named `search`, and so is a public function: each order of imports has a process of its
own, for the first import of a module binds it in its package.
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


FORKS = """
import os, sys, traceback
import alembert.bench.interleaved, alembert.runs.run  # slow ones, which import no room above them
for program in sys.argv[1:]:
    if not (child := os.fork()):
        try:
            exec(program)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(0)
    os.waitpid(child, 0)
"""
ORDERS = [
    *([*order, "test"] for order in permutations(["function", "module", "name"])),
    *([first, "function", "test", first] for first in ("renamed", "room")),
]


@pytest.mark.slow
def test_search_is_the_function_in_every_order_of_imports() -> None:
    program = ROOM | {"test": IS_FUNCTION}
    programs = ["\n".join(program[name] for name in order) for order in ORDERS]
    done = subprocess.run([sys.executable, "-c", FORKS, *programs], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_public_names_are_found_and_no_module() -> None:
    for name in alembert.__all__:
        assert not inspect.ismodule(getattr(alembert, name))
        assert name in dir(alembert)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = alembert.nothing
