"""A teacher that is asked for logits alone reads each text once."""

import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.runs import saved, task_file
from support.stages import in_fp32
from transformers import BertForSequenceClassification, BertTokenizerFast, PreTrainedModel

from alembert.data.collate import pad
from alembert.data.encoded import Encoded
from alembert.data.splits import Files, prepare
from alembert.io.errors import UserError
from alembert.io.tensors import save_part
from alembert.models.loading import load_config, load_model
from alembert.models.trace import no_grad_trace
from alembert.objectives.label_terms import SoftLabels
from alembert.objectives.layer_terms import AttentionMSE, HiddenMSE, Relations
from alembert.recipes.overrides import with_settings
from alembert.recipes.schema import Init, Recipe, Run, Stage, replaced
from alembert.recipes.tinybert import student_config
from alembert.runs import run
from alembert.runs.job import Job
from alembert.runs.stages import prepare as beginning
from alembert.training import distillation as live
from alembert.training import logit_cache
from alembert.training.distillation import Distillation

NAMES = ["down", "flat", "up"]
ASKED = logit_cache.RowSubset(np.array([4, 0, 6, 3, 1, 5, 2]), 4)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts models of four layers, the teachers here, have read."""
    counts: list[int] = []
    forward = BertForSequenceClassification.forward

    @functools.wraps(forward)
    def counted(self: Any, input_ids: Any = None, **more: Any) -> Any:
        if self.config.num_hidden_layers == 4:
            counts.append(len(input_ids))
        return forward(self, input_ids=input_ids, **more)

    monkeypatch.setattr(BertForSequenceClassification, "forward", counted)
    monkeypatch.setattr(
        "alembert.runs.checks.check_finite", lambda *_: None
    )  # it asks made-up texts
    return counts


def job(tmp_path: Path, tokenizer: BertTokenizerFast, out: str) -> Job:
    teacher = str(tmp_path / "teacher")
    if not Path(teacher).is_dir():
        saved(tmp_path / "teacher", tokenizer, "classification", num_hidden_layers=4)
    stage = Stage(
        name="prediction", data="task", objective=(SoftLabels(),), epochs=3, batch_size=8,
        learning_rate=1e-3, max_length=32,
    )  # fmt: skip
    recipe = Recipe(
        name="r", student=student_config(load_config(teacher), 1, 8), stages=(stage,),
        init=Init(start="scratch"), run=Run(precision="fp32"),
    )  # fmt: skip
    valid = task_file(tmp_path / "valid.csv", 12, 1)
    files = Files(train=task_file(tmp_path / "train.csv"), valid=valid)
    return Job(recipe=recipe, out=tmp_path / out, teacher=teacher, files=files)


def at_hand(tmp_path: Path, tokenizer: BertTokenizerFast) -> tuple[PreTrainedModel, Encoded]:
    """The teacher of a job and the rows that it is asked about."""
    made = job(tmp_path, tokenizer, "unused")
    assert made.files is not None
    rows = prepare(made.files, tokenizer, 32, NAMES, 0).train
    return load_model(str(made.teacher), "classification"), rows


def seven_rows(*, per_token: bool) -> Encoded:
    lengths = [3, 5, 2, 4, 6, 3, 2]
    ids = np.arange(5, 5 + sum(lengths), dtype=np.int32)
    return Encoded(
        input_ids=ids,
        lengths=lengths,
        labels=np.zeros(len(ids) if per_token else 7, np.int64),
        token_type_ids=None,
        per_token=per_token,
    )


def test_a_text_is_read_once_whatever_the_epochs_and_never_by_a_second_student(
    tmp_path: Path, tokenizer: BertTokenizerFast, home: Path, read: list[int]
) -> None:
    run.run(job(tmp_path, tokenizer, "first"))
    assert sum(read) == 60
    run.run(job(tmp_path, tokenizer, "second"))
    assert sum(read) == 60


@pytest.mark.parametrize("steps", [24, 3])
def test_the_student_is_the_one_that_a_teacher_at_hand_makes(
    tmp_path: Path,
    tokenizer: BertTokenizerFast,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
) -> None:
    kept, live = (
        replace(made, recipe=with_settings(made.recipe, {"stages.*.steps": str(steps)}))
        for made in (job(tmp_path, tokenizer, name) for name in ("kept", "live"))
    )
    run.run(kept)
    monkeypatch.setattr(beginning, "WithTeacherLogits", lambda rows, *_: rows)
    run.run(live)
    mine, other = (load_file(made.result / "model.safetensors") for made in (kept, live))
    for name, weight in mine.items():
        torch.testing.assert_close(weight, other[name], atol=1e-5, rtol=1e-4)


def test_a_teacher_is_asked_about_the_rows_that_are_read_and_a_longer_stage_asks_for_more(
    tmp_path: Path,
    tokenizer: BertTokenizerFast,
    home: Path,
    read: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logit_cache, "PART", 8)
    for out, steps, wanted in (("short", 2, 16), ("longer", 3, 24), ("shortest", 1, 24)):
        made = job(tmp_path, tokenizer, out)
        recipe = with_settings(made.recipe, {"stages.*.steps": str(steps)})
        run.run(replace(made, recipe=recipe))
        assert sum(read) == wanted


@pytest.mark.parametrize("head", ["classification", "tokens"])
def test_each_row_has_its_own_answer_in_whatever_order_they_are_asked(
    tmp_path: Path,
    tokenizer: BertTokenizerFast,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    head: str,
) -> None:
    saved(tmp_path / "teacher", tokenizer, head)
    teacher = load_model(str(tmp_path / "teacher"), head)
    rows = seven_rows(per_token=head == "tokens")
    monkeypatch.setattr(logit_cache, "PART", 2)
    whole = logit_cache.cached_logits(teacher, rows, 0, in_fp32())
    some = logit_cache.cached_logits(teacher, rows, 0, in_fp32(), ASKED)
    for i in (4, 0, 6, 3):
        mine, theirs = (torch.tensor(said[i]["teacher_logits"]) for said in (some, whole))
        torch.testing.assert_close(mine, theirs)
    with pytest.raises(IndexError):
        some[1]


def test_what_an_interrupted_reading_had_is_not_read_again(
    tmp_path: Path,
    tokenizer: BertTokenizerFast,
    home: Path,
    read: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    teacher, rows = at_hand(tmp_path, tokenizer)
    monkeypatch.setattr(logit_cache, "PART", 16)
    whole = logit_cache.cached_logits(teacher, rows, 0, in_fp32())
    assert sum(read) == 60
    files = sorted(home.rglob("*.safetensors"))
    assert len(files) == 4
    files[2].unlink()
    again = logit_cache.cached_logits(teacher, rows, 0, in_fp32())
    assert sum(read) == 76
    for i in range(60):
        assert (whole[i]["teacher_logits"] == again[i]["teacher_logits"]).all()
    with torch.no_grad():
        plain = teacher(torch.tensor([rows[17]["input_ids"]])).logits[0]
    torch.testing.assert_close(torch.tensor(again[17]["teacher_logits"]), plain)


def test_another_teacher_or_other_texts_are_asked_anew(
    tmp_path: Path, tokenizer: BertTokenizerFast, home: Path, read: list[int]
) -> None:
    teacher, rows = at_hand(tmp_path, tokenizer)
    first = logit_cache.cached_logits(teacher, rows, 0, in_fp32())
    with torch.no_grad():
        teacher.get_parameter("classifier.bias").add_(1.0)
    second = logit_cache.cached_logits(teacher, rows, 0, in_fp32())
    assert sum(read) == 120
    gap = torch.tensor(second[0]["teacher_logits"]) - torch.tensor(first[0]["teacher_logits"])
    torch.testing.assert_close(gap, torch.ones(3))
    other = prepare(
        Files(train=task_file(tmp_path / "other.csv", 60, 7)), tokenizer, 32, NAMES, 0
    ).train
    logit_cache.cached_logits(teacher, other, 0, in_fp32())
    assert sum(read) == 120 + len(other)


@pytest.mark.parametrize("content", [b"", b"\x08", b"nothing like it", "rows", "bit"])
def test_a_broken_file_is_said_and_made_again(
    tmp_path: Path,
    tokenizer: BertTokenizerFast,
    home: Path,
    read: list[int],
    content: bytes | str,
    news: list[str],
) -> None:
    teacher, rows = at_hand(tmp_path, tokenizer)
    whole = logit_cache.cached_logits(teacher, rows, 0, in_fp32())
    (file,) = home.rglob("*.safetensors")
    right, logits = file.read_bytes(), load_file(file)["logits"].clone()
    if content == "rows":
        save_part(file, range(3), {"logits": torch.zeros(3, 3)}, {})  # too few
    elif isinstance(content, str):
        file.write_bytes(right[:-9] + bytes([right[-9] ^ 1]) + right[-8:])
    else:
        file.write_bytes(content)
    again = logit_cache.cached_logits(teacher, rows, 0, in_fp32())
    assert sum(read) == 120
    (line,) = (line for line in news if "is damaged" in line)
    assert line.startswith(f"{file}: is damaged (")
    assert line.endswith("): its 60 rows are made anew")
    assert (load_file(file)["logits"] == logits).all()
    assert (whole[59]["teacher_logits"] == again[59]["teacher_logits"]).all()


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="XDG_CACHE_HOME"):
        run.run(job(tmp_path, tokenizer, "run"))


def test_two_runs_at_once_read_each_text_once(
    tmp_path: Path, tokenizer: BertTokenizerFast, home: Path, read: list[int]
) -> None:
    teacher, rows = at_hand(tmp_path, tokenizer)
    with ThreadPoolExecutor(2) as pool:
        both = [
            pool.submit(logit_cache.cached_logits, teacher, rows, 0, in_fp32()) for _ in range(2)
        ]
        found = [one.result() for one in both]
    assert sum(read) == 60
    assert (found[0][5]["teacher_logits"] == found[1][5]["teacher_logits"]).all()


def test_several_processes_read_a_share_each_and_have_all(
    tmp_path: Path,
    tokenizer: BertTokenizerFast,
    home: Path,
    read: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    teacher, rows = at_hand(tmp_path, tokenizer)
    monkeypatch.setattr(logit_cache, "PART", 16)
    whole = logit_cache.cached_logits(teacher, rows, 0, in_fp32())
    for file in home.rglob("*.safetensors"):
        file.unlink()
    meeting, shares = threading.Barrier(2), {}

    def process(number: int) -> logit_cache.WithTeacherLogits:
        def met() -> None:
            shares.setdefault(number, sorted(int(p.stem) for p in home.rglob("*.safetensors")))
            meeting.wait(60)

        accelerator: Any = SimpleNamespace(
            process_index=number, num_processes=2, is_main_process=number == 0,
            mixed_precision="no", device=torch.device("cpu"), autocast=nullcontext,
            wait_for_everyone=met,
        )  # fmt: skip
        return logit_cache.cached_logits(teacher, rows, 0, accelerator)

    read.clear()
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(process, range(2)))
    assert sum(read) == 60
    assert {0, 32} <= set(shares[0])
    assert {16, 48} <= set(shares[1])
    for i in range(60):
        for one in both:
            assert (one[i]["teacher_logits"] == whole[i]["teacher_logits"]).all()


LAYERS = (
    SoftLabels(temperature=2.0),
    HiddenMSE(layers="uniform", embeddings=True),
    AttentionMSE(layers="uniform"),
    Relations(layers="last", heads=4),
)


@pytest.mark.parametrize("head", ["classification", "tokens"])
def test_kept_states_give_the_losses_of_a_teacher_at_hand(
    tmp_path: Path, tokenizer: BertTokenizerFast, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path / "teacher", tokenizer, head, num_hidden_layers=4)
    saved(tmp_path / "student", tokenizer, head, num_hidden_layers=2)
    teacher, student = (load_model(str(tmp_path / x), head) for x in ("teacher", "student"))
    rows = seven_rows(per_token=head == "tokens")
    distillation = Distillation(student.eval(), teacher, LAYERS, words=False).eval()
    monkeypatch.setattr(logit_cache, "TOKENS", 8)  # so that there are several batches
    kept = logit_cache.with_traces(distillation, rows, 0, in_fp32())
    assert isinstance(kept, logit_cache.WithTeacherTraces)
    wanted, of_terms = distillation(pad([rows[i] for i in (4, 0, 2, 5)], 0))
    monkeypatch.setattr(live, "no_grad_trace", None)  # nobody asks the teacher again
    found, of_kept = distillation(pad([kept[i] for i in (4, 0, 2, 5)], 0))
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)
    assert of_kept.keys() == of_terms.keys()
    for term, value in of_terms.items():
        torch.testing.assert_close(of_kept[term], value, atol=1e-6, rtol=1e-5)


def test_states_that_are_too_many_or_that_nobody_reads_are_not_kept(
    tmp_path: Path, tokenizer: BertTokenizerFast, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, rows = at_hand(tmp_path, tokenizer)
    logits = Distillation(teacher, teacher, (SoftLabels(),), words=False)
    assert logit_cache.with_traces(logits, rows, 0, in_fp32()) is rows
    states = Distillation(teacher, teacher, LAYERS, words=False)
    monkeypatch.setattr(logit_cache, "MEMORY", 10_000)
    assert logit_cache.with_traces(states, rows, 0, in_fp32()) is rows


def test_a_stage_of_several_epochs_asks_its_teacher_about_each_text_once(
    tmp_path: Path, tokenizer: BertTokenizerFast, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def counted(model: Any, batch: Any, reads: Any) -> Any:
        asked.append(len(batch["input_ids"]))
        return no_grad_trace(model, batch, reads)

    for place in (logit_cache, live):
        monkeypatch.setattr(place, "no_grad_trace", counted)
    made = job(tmp_path, tokenizer, "long")
    stage = replaced(made.recipe.stages[0], objective=(SoftLabels(), AttentionMSE(layers="last")))
    run.run(replace(made, recipe=replaced(made.recipe, stages=(stage,))))
    assert sum(asked) == 60 + 1  # the first one tells how much memory is needed
    asked.clear()
    short = replaced(stage, epochs=1.1)
    run.run(replace(made, out=tmp_path / "short", recipe=replaced(made.recipe, stages=(short,))))
    assert sum(asked) == 60 + 8  # seven steps of eight and one of four, then one of eight
