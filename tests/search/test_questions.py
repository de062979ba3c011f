"""A search of students that answer questions, from the timing of shapes to the run folder."""

import json
from pathlib import Path

import pytest
from support.questions import learnable
from support.runs import saved
from transformers import BertTokenizerFast

from alembert import api, load
from alembert.io.errors import UserError

HEAD = "question answering"


@pytest.mark.slow
def test_a_student_is_found_that_answers_questions(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    teacher = saved(tmp_path / "teacher", tokenizer, HEAD, layers=2)
    train = learnable(tmp_path / "train.json", 40, impossible=5)
    test = learnable(tmp_path / "test.json", 16, seed=1, impossible=4)
    out = tmp_path / "found"
    given = {
        "train": train, "eval": test, "min_speedup": 0.001, "trials": 2, "steps": 2, "epochs": 1,
        "max_length": 24, "precision": "fp32",
    }  # fmt: skip
    api.search(teacher, out, **given)
    done = json.loads((out / "search.json").read_text())
    assert done["metric"] == "f1"
    assert {shape["recipe"] for shape in done["shapes"]} == {"house"}
    assert [each["name"] for each in done["baselines"]] == ["first_sentence", "nearest_sentence"]
    assert 0 <= done["kept"]["student"]["f1"] <= 1
    assert {"deployed", "teacher", "student"} <= set(json.loads((out / "metrics.json").read_text()))
    assert len(json.loads((out / "answers.json").read_text())) == 16
    found = load(out).answer(("is good", "the film was good"))
    assert found.text in "the film was good"
    with pytest.raises(UserError, match="--recipes static: reads no token in its context"):
        api.search(teacher, tmp_path / "static", **given, recipes="static")
