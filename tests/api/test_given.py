"""Values of Python calls: numpy, Path and Model work, and others are refused in one line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from support.runs import saved
from transformers import BertTokenizerFast

import alembert
from alembert import api
from alembert.io.errors import UserError
from alembert.objectives import label_terms, layer_terms

TABLE = yaml.safe_load(Path(__file__).with_name("given.yaml").read_text(encoding="utf-8"))
ROWS = [{"text": f"{word} film", "label": word} for word in ("good", "bad") for _ in range(6)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tokenizer: BertTokenizerFast) -> str:
    return saved(tmp_path_factory.mktemp("given") / "model", tokenizer)


@pytest.mark.parametrize("case", TABLE, ids=[case["call"] for case in TABLE])
def test_a_value_of_another_type_is_refused_in_one_line(
    case: dict[str, str], model: str, tmp_path: Path
) -> None:
    names = (
        {name: getattr(api, name) for name in api.__all__} | vars(label_terms) | vars(layer_terms)
    )
    names |= {"MODEL": model, "OUT": tmp_path / "out", "ROWS": ROWS, "np": np, "Path": Path}
    with pytest.raises(UserError, match=case["line"]) as refusal:
        eval(case["call"], names)  # the calls of our own table
    assert "\n" not in str(refusal.value)


def test_a_path_a_model_and_numbers_of_numpy_are_what_they_stand_for(
    model: str, tmp_path: Path
) -> None:
    numbers: dict[str, Any] = {
        "epochs": np.float32(1), "batch_size": np.int64(4), "max_length": np.array(8),
        "seed": np.int32(3),
        "settings": {"stages.task.clip": np.float64(0.5), "stages.linear.steps": np.int64(4)},
    }  # fmt: skip
    teacher = alembert.finetune(alembert.load(model), tmp_path / "teacher", train=ROWS, **numbers)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text((teacher.folder / "recipe.yaml").read_text(encoding="utf-8"))
    found = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    stage = next(each for each in found["stages"] if each["name"] == "task")
    assert (stage["epochs"], stage["batch_size"], stage["max_length"]) == (1.0, 4, 8)
    assert (found["run"]["seed"], stage["clip"]) == (3, 0.5)
    student = alembert.distill(
        teacher, Path("distilbert"), train=ROWS, out=tmp_path / "run", epochs=1,
        max_length=np.int64(8), student=alembert.load(model), batch_size=4, export=False,
    )  # fmt: skip
    assert student.evaluate(ROWS, max_length=np.int64(8)).keys() >= {"accuracy"}
    assert alembert.load(student).folder == student.folder
    page = str(tmp_path / "page.html")
    assert student.report(page)[0] == Path(page)
    assert api.report(student, Path(page))[0] == Path(page)


def test_a_wrong_keyword_and_a_surplus_argument_are_pythons_own_errors(model: str) -> None:
    with pytest.raises(
        TypeError,
        match=r"finetune\(\) got an unexpected keyword argument 'epoch'; "
        r"did you mean 'epochs'\?",
    ):
        alembert.finetune(model, train=ROWS, epoch=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"load\(\) takes 1 positional argument but 2 were given"):
        alembert.load(model, 3)  # type: ignore[call-arg]
