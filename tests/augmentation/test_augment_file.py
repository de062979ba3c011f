"""Augmenting a file: what is written reads again, a killed run goes on, a mistake is named."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from support.runs import saved, task_file
from transformers import BertTokenizerFast

from alembert.augmentation import augment_file as augmentation
from alembert.augmentation import candidates
from alembert.augmentation.augment_file import augment_file
from alembert.augmentation.variants import Augment
from alembert.data.sources import read
from alembert.io.errors import UserError
from alembert.io.locks import locked


@pytest.fixture(scope="module")
def mlm(tokenizer: BertTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(tmp_path_factory.mktemp("model") / "mlm", tokenizer, max_position_embeddings=64)


def augmented_file(source: str | Path, out: Path, mlm: str | None, **more: Any) -> list[dict]:
    """The rows that augment_file writes, read again."""
    usual: dict[str, Any] = {
        "vectors": None,
        "embeddings": None,
        "settings": Augment(copies=3),
        "seed": 0,
        "text": None,
        "text_pair": None,
    }
    count = augment_file(str(source), out, mlm=mlm, **(usual | more))
    rows = read(str(out)).to_list()
    assert len(rows) == count
    return rows


ROWS = {
    "text": ['The film was good, "very" good', "a bad  book", "of the"],
    "id": [7, 8, None],
    "score": [0.5, 3.0, 1e-7],
    "code": ["x1", "", "007"],
}


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_a_file_is_written_that_reads_again_with_all_columns_and_their_types(
    tmp_path: Path, mlm: str, suffix: str
) -> None:
    data = Dataset.from_dict(ROWS)
    data.to_parquet(tmp_path / "in.parquet")
    rows = augmented_file(tmp_path / "in.parquet", tmp_path / f"new/out{suffix}", mlm)
    assert read(str(tmp_path / f"new/out{suffix}")).features == data.features
    assert [path.name for path in (tmp_path / "new").iterdir()] == [f"out{suffix}"]
    originals = [row for row in rows if row["text"] in ROWS["text"]]
    assert originals == data.to_list()
    assert rows[0] == originals[0]
    assert rows[-1] == originals[2]  # nothing in it can be replaced
    others = {key: {str(row[key]) for row in rows} for key in ("id", "score", "code")}
    assert others == {key: {str(value) for value in ROWS[key]} for key in others}
    assert 5 <= len(rows) <= 9


def test_tags_stay_with_their_words(tmp_path: Path, mlm: str) -> None:
    words, tags = ["The", "film", "was", "good", "."], ["O", "B-x", "O", "I-x", "O"]
    Dataset.from_dict({"tokens": [words], "tags": [tags]}).to_parquet(tmp_path / "in.parquet")
    rows = augmented_file(tmp_path / "in.parquet", tmp_path / "out.jsonl", mlm)
    assert rows[0] == {"tokens": words, "tags": tags}
    assert len(rows) > 1
    for row in rows[1:]:
        assert row["tags"] == tags
        assert [w for k, w in enumerate(row["tokens"]) if k not in (1, 3)] == ["The", "was", "."]
        assert row["tokens"] != words


def test_of_pairs_each_side_varies_beside_the_other(tmp_path: Path, mlm: str) -> None:
    (tmp_path / "in.csv").write_text("premise,hypothesis,label\ngood film,bad music,1\n")
    rows = augmented_file(tmp_path / "in.csv", tmp_path / "out.csv", mlm)
    assert {row["label"] for row in rows} == {1}
    assert all(row["premise"] == "good film" or row["hypothesis"] == "bad music" for row in rows)
    assert any(row["premise"] != "good film" for row in rows)
    assert any(row["hypothesis"] != "bad music" for row in rows)


class Killed(BaseException):
    pass


@contextmanager
def killed_after(parts: int) -> Iterator[list[int]]:
    """Parts are of eight rows; the run ends after so many. Leaves how many texts each asked for."""
    asked: list[int] = []

    def counted(asks: list[Any], **rest: Any) -> Any:
        if len(asked) == parts:
            raise Killed
        asked.append(len(asks))
        return candidates.candidates(asks, **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(augmentation, "ROWS", 8)
        patch.setattr(augmentation, "candidates", counted)
        yield asked


def test_a_killed_run_goes_on_where_it_stopped_and_ends_in_the_same_bytes(
    tmp_path: Path, mlm: str
) -> None:
    source, out = task_file(tmp_path / "in.csv", rows=30), tmp_path / "out.csv"
    with killed_after(9):
        augmented_file(source, tmp_path / "whole.csv", mlm)
    with killed_after(3), pytest.raises(Killed):
        augmented_file(source, out, mlm)
    assert not out.exists()
    with killed_after(9) as asked:
        augmented_file(source, out, mlm)
    assert len(asked) == 1  # of four parts
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv", "whole.csv"]


def test_two_at_once_are_refused_before_they_mix(tmp_path: Path, mlm: str) -> None:
    source, out = task_file(tmp_path / "in.csv", rows=30), tmp_path / "out.csv"
    with killed_after(3), pytest.raises(Killed):
        augmented_file(source, out, mlm)
    with locked(tmp_path / "out.csv.unfinished"):
        for more in ({}, {"settings": Augment(copies=1)}):
            with pytest.raises(UserError, match="another process is running in this folder"):
                augmented_file(source, out, mlm, **more)
    with killed_after(9) as asked:
        augmented_file(source, out, mlm)
    assert len(asked) == 1


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, mlm: str) -> None:
    source, there = task_file(tmp_path / "in.csv", rows=30), tmp_path / "out.csv.unfinished"
    there.mkdir()
    (there / "my.txt").write_text("precious")
    with pytest.raises(UserError, match=r"out\.csv\.unfinished: holds my\.txt and no augmentation"):
        augmented_file(source, tmp_path / "out.csv", mlm)
    assert [path.read_text() for path in there.iterdir()] == ["precious"]


@pytest.mark.parametrize("other", ["seed", "settings", "file", "model"])
def test_what_another_job_left_unfinished_is_not_taken_up(
    tmp_path: Path, mlm: str, tokenizer: BertTokenizerFast, other: str
) -> None:
    source, out = task_file(tmp_path / "in.csv", rows=30), tmp_path / "out.csv"
    before: dict[str, Any] = {"source": source, "mlm": mlm}
    before |= {
        "seed": {"seed": 1},
        "settings": {"settings": Augment(copies=4)},
        "file": {"source": task_file(tmp_path / "other.csv", rows=30, seed=1)},
        "model": {"mlm": saved(tmp_path / "other", tokenizer, hidden_size=8)},
    }[other]
    with killed_after(3), pytest.raises(Killed):
        augmented_file(out=out, **before)
    with killed_after(9) as asked:
        augmented_file(source, out, mlm)
    assert len(asked) == 4


def test_rows_do_not_depend_on_how_many_stand_behind_them(tmp_path: Path, mlm: str) -> None:
    source = Path(task_file(tmp_path / "in.csv", rows=30))
    whole = augmented_file(source, tmp_path / "whole.jsonl", mlm)
    (tmp_path / "few.csv").write_text("\n".join(source.read_text().split("\n")[:11]) + "\n")
    few = augmented_file(tmp_path / "few.csv", tmp_path / "few.jsonl", mlm)
    assert whole[: len(few)] == few


def test_without_a_masked_word_model_all_words_get_the_nearest_by_vectors(
    news: list[str], tmp_path: Path, mlm: str
) -> None:
    (tmp_path / "in.csv").write_text("text\nGood film of zebra\n")
    (tmp_path / "v.txt").write_text("good 1 0\nfine 1 0.1\nbad -1 0\nfilm 0 1\nmovie 0.1 1\n")
    chosen = Augment(share=1, copies=1, candidates=1)
    given = {"vectors": tmp_path / "v.txt", "settings": chosen}
    rows = augmented_file(tmp_path / "in.csv", tmp_path / "a.csv", None, **given)
    assert [row["text"] for row in rows] == ["Good film of zebra", "Fine movie of zebra"]
    assert news == [f"no --mlm: words are replaced by the nearest ones in {tmp_path / 'v.txt'}"]
    given = {"embeddings": mlm, "settings": chosen}
    one, two = augmented_file(tmp_path / "in.csv", tmp_path / "b.csv", None, **given)
    kept = [a == b for a, b in zip(one["text"].split(), two["text"].split(), strict=True)]
    assert kept == [False, False, True, True]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"out": "in.csv"}, "in.csv: is the file to augment itself; name another"),
        ({"out": "there.csv"}, "there.csv: is there already; delete it or name another"),
        ({"out": "out.xlsx"}, "unknown kind of file; write one of .csv .tsv .jsonl .parquet"),
        ({"out": "in.csv/out.csv"}, "in.csv/out.csv.unfinished: cannot be written"),
        ({"source": "words.jsonl"}, "cannot hold column 'tokens' unchanged; write .jsonl or"),
        ({"source": "zip.jsonl"}, "cannot hold column 'zip' unchanged; write .jsonl or .parquet"),
        ({"source": "line.jsonl", "out": "out.tsv"}, "cannot hold column 'text' unchanged; write"),
        ({"source": "day.parquet", "out": "out.jsonl"}, "cannot hold column 'day' unchanged; wr"),
        ({"source": "return.jsonl"}, "cannot hold column 'text' unchanged; write .jsonl or"),
        ({"source": "gap.csv"}, "gap.csv, row 2: 'text' is empty; fill it or drop the row"),
        ({"source": "empty.csv"}, "empty.csv: the file is empty"),
        ({"text": "text", "text_pair": "text"}, "--text-pair text: is the first text already"),
        ({"text": "label"}, "'label' holds no text; name another column with --text"),
        ({"text": "body"}, "--text body: .*in.csv has no such column"),
        (
            {"embeddings": "m"},
            "--embeddings cannot be combined with --mlm and --vectors; leave it out",
        ),
        ({"vectors": Path("nowhere.txt")}, "--vectors nowhere.txt: no such file"),
        ({"mlm": "maskless"}, "maskless: its tokenizer has no mask token; name another model"),
        ({"mlm": "headless"}, "the model has no masked-word head"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_mend(
    tmp_path: Path, mlm: str, tokenizer: BertTokenizerFast, given: dict[str, Any], message: str
) -> None:
    files = {
        "in.csv": "text,label\ngood film,1\n",
        "there.csv": "",
        "words.jsonl": '{"tokens": ["good"], "tags": ["O"]}\n',
        "zip.jsonl": '{"text": "good film", "zip": "12345"}\n',
        "line.jsonl": '{"text": "good\\nfilm", "label": 1}\n',
        "return.jsonl": '{"text": "good\\rfilm", "label": 1}\n',
        "gap.csv": "text,label\ngood,1\n ,2\n",
        "empty.csv": "",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    days = {"text": ["good film"], "day": [date(2020, 2, 29)]}
    Dataset.from_dict(days).to_parquet(tmp_path / "day.parquet")
    if given.get("mlm") == "headless":
        saved(tmp_path / "headless", tokenizer, "classification")
    if given.get("mlm") == "maskless":
        saved(tmp_path / "maskless", tokenizer)
        settings_at = tmp_path / "maskless" / "tokenizer_config.json"
        settings_at.write_text(settings_at.read_text().replace('"[MASK]"', "null"))
    made = given | {
        key: str(tmp_path / given[key]) for key in ("mlm",) if given.get(key) is not None
    }
    source = tmp_path / made.pop("source", "in.csv")
    out = tmp_path / made.pop("out", "out.csv")
    with pytest.raises(UserError, match=message) as error:
        augmented_file(source, out, **({"mlm": mlm} | made))
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("*.unfinished"))
