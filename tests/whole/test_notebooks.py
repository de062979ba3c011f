"""The notebooks of examples/ run from top to bottom, each in a kernel and a folder of its own."""

import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[2] / "examples"
ENDS = {  # how the value of its last cell begins
    "own_data": "Prediction(label='login_problem'",
    "own_recipe": "True",
    "serving": "0",
}


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)


def test_every_notebook_is_named_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.ipynb")} == ENDS.keys()


@pytest.mark.parametrize("name", ENDS)
def test_a_notebook_is_short_and_stored_without_outputs(name: str) -> None:
    notebook = read(name)
    nbformat.validate(notebook)
    assert len(notebook.cells) <= 15
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.outputs for cell in code] == [[]] * len(code)
    assert [cell.execution_count for cell in code] == [None] * len(code)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENDS)
def test_a_notebook_runs(name: str, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "own.py", tmp_path)
    notebook = read(name)
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, kernel_name="python3", resources=place).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code[-1].outputs[-1]["data"]["text/plain"].startswith(ENDS[name])
