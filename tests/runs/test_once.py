"""A run reads each file once, loads its teacher once and tokenises each row once."""

import csv
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.runs import saved, task_file
from transformers import AutoTokenizer, BertTokenizerFast, PreTrainedModel, PreTrainedTokenizerBase

import alembert
from alembert.training.teacher import Teacher, Teachers

opened: Counter[str] = Counter()
MARK = "m4rk"  # no word, so that no variant has it


def count_opened(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str):
        opened[arguments[0]] += 1


class Counts:
    """Real calls of transformers, by the folder of the model."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.models: Counter[str] = Counter()
        self.tokenizers: Counter[str] = Counter()
        self.texts: dict[str, Counter[str]] = {}
        model, tokenizer = PreTrainedModel.from_pretrained.__func__, AutoTokenizer.from_pretrained
        call = PreTrainedTokenizerBase.__call__

        def load_model(cls: type, path: str, *given: Any, **more: Any) -> Any:
            self.models[Path(path).name] += 1
            return model(cls, path, *given, **more)

        def load_tokenizer(path: str, *given: Any, **more: Any) -> Any:
            self.tokenizers[Path(path).name] += 1
            return tokenizer(path, *given, **more)

        def tokenise(this: Any, texts: Any, *given: Any, **more: Any) -> Any:
            name = Path(this.name_or_path).name
            batch = [texts] if isinstance(texts, str) else texts
            self.texts.setdefault(name, Counter()).update(batch)
            return call(this, texts, *given, **more)

        patch.setattr(PreTrainedModel, "from_pretrained", classmethod(load_model))
        patch.setattr(AutoTokenizer, "from_pretrained", load_tokenizer)
        patch.setattr(PreTrainedTokenizerBase, "__call__", tokenise)


def texts_of(path: str) -> list[str]:
    with Path(path).open(encoding="utf-8") as file:
        return [row["text"] for row in csv.DictReader(file)]


@pytest.mark.slow
def test_distilling_with_variants_reads_loads_and_tokenises_each_thing_once(
    tmp_path: Path, tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    teacher = saved(tmp_path / "teacher", tokenizer, "classification")
    words = saved(tmp_path / "words", tokenizer)
    train, test = task_file(tmp_path / "train.csv"), task_file(tmp_path / "test.csv", 12, 9)
    with Path(train).open("a", encoding="utf-8") as file:
        file.write(f"{MARK} is the,up\n")
    sources = texts_of(train)
    # the report, made after the run, opens models of its own, with other attention
    monkeypatch.setattr("alembert.api.train._present", lambda *given, **more: None)
    counts = Counts(monkeypatch)
    sys.addaudithook(count_opened)
    opened.clear()
    run = alembert.distill(
        teacher, "tinybert", out=tmp_path / "run", train=train, eval=test, mlm=words, layers=1,
        hidden_size=8, max_length=32, precision="fp32",  # bf16 would round the teacher in place
        settings={"stages.*.steps": 4, "augment.copies": 3},
    )  # fmt: skip
    assert set(run.metrics) >= {"teacher", "student"}  # the teacher was evaluated, too
    assert (opened[train], opened[test]) == (1, 1)
    assert (counts.models["teacher"], counts.models["words"]) == (1, 1)
    assert counts.tokenizers["teacher"] == 1
    (made,) = run.folder.glob("augmented-*.parquet")
    variants = pq.read_table(made).to_pydict()
    assert len(variants["text"]) > 30
    assert counts.texts["teacher"] == Counter([*sources, *texts_of(test), *variants["text"]])
    copies = [p for p in tmp_path.rglob("*") if p.is_file() and MARK.encode() in p.read_bytes()]
    (terms,) = (tmp_path / "cache/alembert/baselines").glob("tfidf-*.safetensors")
    assert sorted(copies) == sorted([Path(train), terms])


def test_a_teacher_holds_one_model_until_it_is_released(
    tmp_path: Path, tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "teacher", tokenizer, "classification")
    counts, teachers = Counts(monkeypatch), Teachers()
    teacher = teachers[path]
    model = teacher.model("classification")
    assert teachers[path].model("classification") is model
    assert teacher.has_head("classification")
    assert counts.models["teacher"] == 1
    teacher.model("encoder")
    assert teacher.model("classification") is not model  # one head at a time
    assert counts.models["teacher"] == 3
    teachers.release_others(path)
    teacher.model("classification")
    assert counts.models["teacher"] == 3
    teachers.release_others(None)
    teacher.model("classification")
    assert counts.models["teacher"] == 4


def test_a_teacher_that_training_rounded_is_loaded_anew(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    teacher = Teacher(saved(tmp_path / "teacher", tokenizer, "classification"))
    weights = {name: w.clone() for name, w in teacher.model("classification").named_parameters()}
    teacher.model("classification").bert.encoder.layer[0].bfloat16()
    again = dict(teacher.model("classification").named_parameters())
    assert all((again[name] == weight).all() for name, weight in weights.items())
