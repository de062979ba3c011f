"""Progress bars are seen on terminals and in notebooks, and their import is silent."""

import subprocess
import sys

import pytest

BAR = "from alembert.io.progress import HIDDEN, tqdm\nlist(tqdm(range(2), disable=HIDDEN))"
# a kernel without ipywidgets, of which tqdm warns
KERNEL = """
import sys, types
for name in ("ipykernel.zmqshell", "IPython"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["IPython"].get_ipython = object
sys.modules["ipywidgets"] = None
"""


@pytest.mark.parametrize(("before", "shown"), [("", False), (KERNEL, True)])
def test_a_notebook_has_bars_and_a_pipe_has_none(before: str, shown: bool) -> None:
    line = [sys.executable, "-W", "always", "-c", before + BAR]
    found = subprocess.run(line, capture_output=True, text=True, check=True)
    assert ("2/2" in found.stderr) == shown
    assert "Warning" not in found.stderr
    assert found.stdout == ""
