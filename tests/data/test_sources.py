"""Files as people have them become columns, and what is wrong with a file is said with its line."""

import json
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alembert.data import sources
from alembert.data.sources import glue, read
from alembert.io.errors import UserError

ROWS = {"text": ["a good film", "so, so"], "label": ["pos", "neg"]}


def file(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def columns(data: datasets.Dataset) -> dict[str, list[object]]:
    return {name: data[name][:] for name in data.column_names}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.csv", 'text,label\na good film,pos\n"so, so",neg\n'),
        ("d.CSV", '\ufefftext,label\r\na good film,pos\r\n\r\n"so, so",neg'),
        ("d.tsv", "text\tlabel\na good film\tpos\nso, so\tneg\n"),
        ("d.tsv", "\ufefftext\tlabel\r\na good film\tpos\r\nso, so\tneg\r\n"),
        ("d.json", json.dumps(ROWS)),
        ("d.json", '[{"text": "a good film", "label": "pos"}, {"label": "neg", "text": "so, so"}]'),
        (
            "d.json",
            '{"version": 1, "data": [{"text": "a good film", "label": "pos"},'
            '{"label": "neg", "text": "so, so"}]}',
        ),
        (
            "d.jsonl",
            '{"text": "a good film", "label": "pos"}\n\n{"text": "so, so", "label": "neg"}',
        ),
    ],
)
def test_every_kind_of_table_reads_to_the_same_columns(
    tmp_path: Path, name: str, content: str
) -> None:
    assert columns(read(file(tmp_path, name, content))) == ROWS


def test_parquet_and_saved_folders_keep_their_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table(ROWS), tmp_path / "d.parquet")
    assert columns(read(str(tmp_path / "d.parquet"))) == ROWS
    data = datasets.Dataset.from_dict(ROWS)
    data.save_to_disk(tmp_path / "one")
    assert columns(read(str(tmp_path / "one"))) == ROWS
    datasets.DatasetDict({"train": data.select([0]), "test": data}).save_to_disk(tmp_path / "two")
    assert columns(read(str(tmp_path / "two"), split="test")) == ROWS
    with pytest.raises(UserError, match="no split 'dev'; there are train, test"):
        read(str(tmp_path / "two"), split="dev")


def test_plain_text_is_one_text_a_line(tmp_path: Path) -> None:
    # U+2028 and a form feed end no line
    path = file(tmp_path, "d.txt", "one\u2028and\x0c a half\r\n\ntwo\n")
    assert columns(read(path)) == {"text": ["one\u2028and\x0c a half", "two"]}


@pytest.mark.parametrize("suffix", ["conll", "bio", "iob"])
def test_conll_takes_the_first_column_as_word_and_the_last_as_tag(
    tmp_path: Path, suffix: str
) -> None:
    content = "-DOCSTART- -X- O\n\nNew NNP B-place\nYork NNP I-place\n\n\nis\tO\nold age\tO"
    assert columns(read(file(tmp_path, f"d.{suffix}", content))) == {
        "tokens": [["New", "York"], ["is", "old age"]],
        "tags": [["B-place", "I-place"], ["O", "O"]],
    }


def test_numbers_are_numbers_and_names_that_look_alike_stay_names(tmp_path: Path) -> None:
    path = file(tmp_path, "d.csv", "i,f,zip,gap,text\n1,0.5,007,3,12\n-2,1e3,123,,two\n")
    assert columns(read(path)) == {
        "i": [1, -2],
        "f": [0.5, 1000.0],
        "zip": ["007", "123"],
        "gap": [3, None],
        "text": ["12", "two"],
    }


def test_quotes_are_text_in_tsv_and_quoting_in_csv(tmp_path: Path) -> None:
    tsv = read(file(tmp_path, "d.tsv", 'text\n"so he said\nthe 6" film\n'))
    assert tsv["text"][:] == ['"so he said', 'the 6" film']
    csv = read(file(tmp_path, "d.csv", 'text,n\n"two\nlines ""quoted""",1\n'))
    assert csv["text"][:] == ['two\nlines "quoted"']


def test_a_cell_may_hold_200_kilobytes(tmp_path: Path) -> None:
    long = "word " * 40_000
    assert read(file(tmp_path, "d.csv", f"text,label\n{long},x\n"))["text"][0] == long


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("d.csv", "", "the file is empty"),
        ("d.csv", "\ufeff", "the file is empty"),
        ("d.tsv", "text\tlabel\n", "no rows below the header"),
        ("d.csv", "text,label\n", "no rows below the header"),
        ("d.csv", "a,b\n1,2\n\n1,2,3\n", "line 4: 3 fields where the header has 2"),
        ("d.csv", 'a,b\n"1\n1",2\n1\n', "line 4: 1 fields where the header has 2"),
        ("d.csv", 'a,b\n1,2\n"x,2\n3,4\n', "line 3: .*; fix the quotes"),
        ("d.csv", "a,b,a\n1,2,3\n", "line 1: column 'a' is there twice"),
        ("d.tsv", "a\tb\n1\n", "line 2: 1 fields where the header has 2"),
        ("d.csv", b"text\nfine\n\xff\xfe\n", "line 3: byte 10 is not UTF-8"),
        ("d.jsonl", '{"a": 1}\n[1]\n', "line 2: not an object"),
        ("d.jsonl", '{"a": 1}\n\n{"a": 1\n', "line 3: not JSON"),
        ("d.jsonl", '{"a": 1, "b": 2}\n{"a": 1}\n', "line 2: key 'b' is missing"),
        ("d.jsonl", '{"a": 1}\n{"a": 1, "b": 2}\n', "line 2: key 'b' is not in the rows above"),
        ("d.jsonl", '{"a": 1}\n{"a": "x"}\n', "line 2: 'a' is a string, above it is a number"),
        ("d.jsonl", '{"a": [1]}\n{"a": ["x"]}\n', "column 'a' mixes types"),
        ("d.json", '{"a": [1, 2], "b": [1]}', r"different length \(a: 2, b: 1\)"),
        ("d.json", '[\n{"a": 1},\n{"a": 2,}\n]', "line 3: not JSON"),
        ("d.json", "[]", "no rows"),
        ("d.json", "3", "neither a list of objects nor an object of lists"),
        ("d.json", '[{"a": 1}, 3]', "row 2: not an object"),
        ("d.conll", "one O\ntwo\n", "line 2: a word without a tag"),
        ("d.parquet", "no parquet", "not readable as Parquet"),
        ("d.xls", "x", r"unknown kind of file '.xls'; known are .csv .tsv"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_line(
    tmp_path: Path, name: str, content: str | bytes, says: str
) -> None:
    path = file(tmp_path, name, content)
    with pytest.raises(UserError, match=says) as error:
        read(path)
    assert str(error.value).startswith(path)
    assert "\n" not in str(error.value)


def test_what_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (str(tmp_path / "no.csv"), str(tmp_path / "no"), "no.csv", "./no"):
        with pytest.raises(UserError, match="no such file"):
            read(path)
    with pytest.raises(UserError, match="not a folder of datasets' save_to_disk"):
        read(str(tmp_path))

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(sources, "load_dataset", unreachable)
    with pytest.raises(UserError, match="the hub cannot be reached"):
        read("someone/something")


def test_a_hub_id_may_name_its_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(*given: object, **named: object) -> datasets.Dataset:
        asked.append((*given, named["split"]))
        return datasets.Dataset.from_dict(ROWS)

    monkeypatch.setattr(sources, "load_dataset", load)
    read("imdb")
    read("nyu-mll/glue:rte", split="validation")
    assert asked == [("imdb", None, "train"), ("nyu-mll/glue", "rte", "validation")]


GLUE_FILES = {
    # task: (folder, train, dev, train as read)
    "sst2": ("SST-2", "sentence\tlabel\nfine \t1\nbad \t0\n", "sentence\tlabel\nfine \t1\n",
             {"text": ["fine ", "bad "], "label": ["positive", "negative"]}),
    "cola": ("CoLA", "gj04\t1\t\tHe ran.\ngj04\t0\t*\tRan he \"\n", "gj04\t1\t\tHe ran.\n",
             {"text": ["He ran.", 'Ran he "'], "label": ["acceptable", "unacceptable"]}),
    "mrpc": ("MRPC", "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\tOne \"a\tTwo\n",
             "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t7\t8\tOne\tTwo\n",
             {"text": ['One "a'], "text_pair": ["Two"], "label": ["equivalent"]}),
    "stsb": ("STS-B", "i\tg\tf\ty\to\ts1\ts2\tsentence1\tsentence2\tscore\n"
             "0\tg\tf\t2012\t0001\tn\tn\tA\tB\t3.800\n",
             "i\tg\tf\ty\to\ts1\ts2\tsentence1\tsentence2\tscore\n"
             "0\tg\tf\t2012\t0001\tn\tn\tA\tB\t5.000\n",
             {"text": ["A"], "text_pair": ["B"], "label": [3.8]}),
    "qqp": ("QQP", "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
            "0\t1\t2\tA?\tB?\t0\n1\t1\t2\tbroken\n2\t1\t2\tC?\tC?\t1\n",
            "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n0\t1\t2\tA?\tB?\t0\n",
            {"text": ["A?", "C?"], "text_pair": ["B?", "C?"],
             "label": ["not_duplicate", "duplicate"]}),
    "rte": ("RTE", "index\tsentence1\tsentence2\tlabel\n0\tA\tB\tnot_entailment\n",
            "index\tsentence1\tsentence2\tlabel\n0\tA\tB\tentailment\n",
            {"text": ["A"], "text_pair": ["B"], "label": ["not_entailment"]}),
    "mnli": ("MNLI", "i\tp\tq\tg\ta\tb\tc\td\tsentence1\tsentence2\tlabel1\tgold_label\n"
             "0\t1\t1e\tg\t(\t(\t(\t(\tA\tB\tneutral\tneutral\n",
             "i\tp\tq\tg\ta\tb\tc\td\tsentence1\tsentence2\tl1\tl2\tl3\tl4\tl5\tgold_label\n"
             "0\t1\t1e\tg\t(\t(\t(\t(\tA\tB\tneutral\tn\tn\tn\tn\tcontradiction\n",
             {"text": ["A"], "text_pair": ["B"], "label": ["neutral"]}),
}  # fmt: skip


@pytest.mark.parametrize("task", GLUE_FILES)
def test_glue_folders_read_by_their_official_columns(tmp_path: Path, task: str) -> None:
    name, train, dev, expected = GLUE_FILES[task]
    (tmp_path / name).mkdir()
    file(tmp_path / name, "train.tsv", train)
    file(tmp_path / name, "dev_matched.tsv" if task == "mnli" else "dev.tsv", dev)
    for folder in (tmp_path, tmp_path / name):
        found = glue(task, str(folder))
        assert columns(found["train"]) == expected
        assert len(found["eval"]) == 1
    if task == "mnli":
        assert found["eval"]["label"][:] == ["contradiction"]


def test_glue_from_the_hub_has_the_same_columns_and_names(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, task: str, split: str) -> datasets.Dataset:
        assert (name, task) == ("nyu-mll/glue", "mnli")
        rows = {"premise": ["A"], "hypothesis": ["B"], "label": [2], "idx": [0]}
        return datasets.Dataset.from_dict({**rows, "premise": [split]})

    monkeypatch.setattr(sources, "load_dataset", load)
    found = glue("mnli")
    assert columns(found["train"]) == {
        "text": ["train"],
        "text_pair": ["B"],
        "label": ["contradiction"],
    }
    assert found["eval"]["text"][:] == ["validation_matched"]


def test_a_wrong_glue_task_folder_or_label_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--task wnli: no such task; there are sst2, cola"):
        glue("wnli", str(tmp_path))
    with pytest.raises(UserError, match=r"train\.tsv: no such file; give a folder with SST-2"):
        glue("sst2", str(tmp_path))
    file(tmp_path, "train.tsv", "sentence\tlabel\nfine\t1\nbad\t7\n")
    file(tmp_path, "dev.tsv", "sentence\tlabel\nfine\t1\n")
    with pytest.raises(UserError, match="line 3: label '7' is none of negative, positive"):
        glue("sst2", str(tmp_path))


@pytest.mark.parametrize("name", ["state.json", "dataset_info.json"])
@pytest.mark.parametrize("content", ["[" * 10_000, "[]", "{", "5", '{"features": 5, "x": 1}'])
def test_a_saved_folder_of_broken_json_is_refused(name: str, content: str, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(folder)
    (folder / name).write_text(content)
    with pytest.raises(UserError, match=r"set: cannot be read .*; save the data set again"):
        read(str(folder))
