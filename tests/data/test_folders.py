"""A folder with a folder of texts for each class is read; other folders are refused."""

from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from alembert.data.sources import read
from alembert.data.splits import Files
from alembert.io.errors import UserError


def lay_out(folder: Path, files: dict[str, bytes]) -> str:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return str(folder)


CLASSES = {"neg/0.txt": b"dull\nfilm", "pos/0.txt": b"fine film", "pos/1.txt": b"good"}


def test_each_folder_is_a_class_and_each_file_a_text(tmp_path: Path) -> None:
    rows = read(lay_out(tmp_path, CLASSES))
    assert rows["text"][:] == ["dull\nfilm", "fine film", "good"]
    assert rows["label"][:] == ["neg", "pos", "pos"]


def test_the_split_is_taken_of_a_folder_with_one_for_each(tmp_path: Path) -> None:
    files = {f"{split}/{name}": b"x" for split in ("train", "test") for name in CLASSES}
    path = lay_out(tmp_path, files | {"README": b"", "test/pos/2.txt": b"more"})
    assert (len(read(path)), len(read(path, "test"))) == (3, 4)
    with pytest.raises(UserError, match="it holds README, test, train"):
        read(path, "validation")


def test_what_has_no_label_is_left_out_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    more = {"unsup/0.txt": b"x", "urls.txt": b"x", ".git/config": b"x"}
    assert len(read(lay_out(tmp_path, CLASSES | more))) == 3
    assert "left out, since they are no classes: unsup, urls.txt" in caplog.text


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"pos/0.txt": b"one class alone"},
        {"seq.in": b"a", "seq.out": b"O", "label": b"x"},
        {"step-1/config.json": b"{}", "step-2/config.json": b"{}"},
        {"cat/0.jpg": b"\xff\xd8", "dog/0.jpg": b"\xff\xd8"},
        {"a/b/0.txt": b"x", "c/d/0.txt": b"x"},
    ],
)
def test_a_folder_of_something_else_is_refused(tmp_path: Path, files: dict[str, bytes]) -> None:
    with pytest.raises(UserError, match="not a folder of datasets' save_to_disk, and no folder"):
        read(lay_out(tmp_path, files))


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pos/2.txt, line 2: byte 2 is not UTF-8"):
        read(lay_out(tmp_path, CLASSES | {"pos/2.txt": b"a\n\x81\x8d"}))


def test_rows_without_a_class_are_left_out_where_others_have_one() -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    rows = Dataset.from_dict({"text": ["a", "b", "c"], "label": [0, -1, 1]}, features)
    files = Files(train=rows)
    assert files.labelled(files.train, None).rows["text"][:] == ["a", "c"]
