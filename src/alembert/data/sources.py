"""Reads a path, a hub id, a GLUE task or rows in memory into Datasets with their own columns."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import datasets
from datasets import Dataset, DatasetDict, load_dataset, load_from_disk
from huggingface_hub.errors import HfHubHTTPError

from alembert.data.files import folders
from alembert.data.files.sheets import OTHERS as SPREADSHEETS
from alembert.data.files.skipped import BadRow, refuse
from alembert.data.formats import FORMATS, dataset, kind, read_file, tsv_cells
from alembert.data.tables import InMemory, digest_of, from_memory, kind_of_rows
from alembert.io import hub
from alembert.io.errors import UserError
from alembert.io.progress import doing

Given: TypeAlias = str | Path | InMemory
PACKINGS = (".zip", ".bz2", ".xz", ".7z", ".rar", ".tar", ".tgz")  # which are not unpacked
SPLITS = {  # the split that is read of a folder, a hub id or a DatasetDict, by keyword
    "train": "train", "valid": "validation", "eval": "test", "data": "test", "unlabelled": "train",
}  # fmt: skip
HUB = "hub"  # in place of the folder of a GLUE task: it comes from there


class Source:
    """The rows given as train, valid, eval or unlabelled: by a path, or in memory.

    They are read once, when they are first needed, and kept. `task` names the GLUE task whose
    folder, or HUB, is given.
    """

    def __init__(
        self, given: Given, role: str = "train", task: str | None = None, bad: BadRow = refuse
    ) -> None:
        self.given = str(given) if isinstance(given, Path) else given
        self.role, self.task, self.bad, self._keyword = role, task, bad, role
        if self.in_memory:
            kind_of_rows(self.given, role)  # raises UserError for what is none
        self._read: dict[str, Dataset] = {}  # by split

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """The path, or the kind of value and the keyword that it was given as, for messages."""
        if isinstance(self.given, str):
            return self.given
        split = f", split {self._split!r}" if self._split else ""
        return f"the {kind_of_rows(self.given, self.role)} given as {self._keyword}{split}"

    @property
    def in_memory(self) -> bool:
        """Whether the rows were given as a value, and not by a path."""
        return not isinstance(self.given, str)

    def with_role(self, role: str) -> "Source":
        """The same path or value as another split; what is read already is not read again."""
        other = Source(self.given, role, self.task, self.bad)
        other._keyword, other._read = self._keyword, self._read
        return other

    @property
    def rows(self) -> Dataset:
        """The rows. Raises UserError that names the file and the line, or the row."""
        split = self._split
        if split not in self._read:
            with doing(f"reading {self.name}"):
                self._read |= self._load(split)
        return self._read[split]

    @cached_property
    def digest(self) -> str:
        """The sha256 of the rows' content, the same for another path or kind of file."""
        return digest_of(self.rows)

    @property
    def identity(self) -> str:
        """The name, and for rows in memory, whose content no path tells, the digest too."""
        return f"{self.name} (sha256 {self.digest[:16]})" if self.in_memory else self.name

    @property
    def _split(self) -> str:
        """The split to read; "" where there is one alone, as in a file that is no JSON document."""
        if isinstance(self.given, str):
            path = Path(self.given).expanduser()
            one = self.task is None and path.is_file() and kind(path) != ".json"
        else:
            one = not isinstance(self.given, DatasetDict)
        return "" if one else SPLITS[self.role]

    def _load(self, split: str) -> dict[str, Dataset]:
        if not isinstance(self.given, str):
            return {split: from_memory(self.given, self.name, split)}
        if self.task is None:
            return {split: read(self.given, split, self.bad)}
        splits = glue(self.task, None if self.given == HUB else self.given)
        return {SPLITS[role]: rows for role, rows in splits.items()}


def read(path: str, split: str = "train", bad: BadRow = refuse) -> Dataset:
    """The rows of a file (by its suffix), of a `save_to_disk` folder, or of a hub id.

    A hub id may name a configuration: `nyu-mll/glue:rte`. `split` applies to folders, hub ids and
    JSON documents that hold several. `bad` takes rows that cannot be read. Columns of numbers
    become numbers, and blank lines are skipped.
    Raises UserError that names the file and, where there is one, the line.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        return _folder(file, split)
    if file.is_file():
        if kind(file) not in FORMATS:
            known = " ".join(FORMATS)
            hint = "; rename it to what it is (.conll for words and tags), or write a .csv"
            hint = "; save the spreadsheet as .csv" if kind(file) in SPREADSHEETS else hint
            hint = "; unpack it" if kind(file) in PACKINGS else hint
            raise UserError(f"{path}: unknown kind of file {kind(file)!r}; known are {known}{hint}")
        data = read_file(file, split, bad)
        if len(data) == 0:
            raise UserError(f"{path}: no rows; give a file with at least one")
        return data
    check_name(path)
    return _hub(path, split)


def check_name(path: str) -> None:
    """Raise UserError for what is neither a file or a folder, nor written as a hub id."""
    if Path(path).expanduser().exists():
        return
    if not path.partition(":")[0]:
        raise UserError(f"{path!r}: no such file; check the path")
    hub.check_id(path.partition(":")[0], "file")


def _folder(path: Path, split: str) -> Dataset:
    """The data set, or one split of a DatasetDict, in a folder written by `save_to_disk`."""
    if not any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
        columns = folders.texts_of(folders.split_of(path, split))
        if columns is None:
            raise UserError(
                f"{path}: not a folder of datasets' save_to_disk, and no folder with one of texts "
                f"(.txt) for each class; it holds {folders.contents(path)}: give a file, and join "
                "those that stand side by side to one table"
            )
        return dataset(columns, path)
    try:
        data = load_from_disk(path)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: cannot be read ({reason}); save the data set again") from error
    if isinstance(data, DatasetDict):
        if split not in data:
            raise UserError(f"{path}: no split {split!r}; there are {', '.join(data)}")
        data = data[split]
    if len(data) == 0:
        raise UserError(f"{path}: no rows; give a data set with at least one")
    return data


def _hub(path: str, split: str) -> Dataset:
    name, _, configuration = path.partition(":")
    before = datasets.config.HF_HUB_OFFLINE
    try:
        # an unreachable hub would cost 20 seconds of retries; cached data sets are found offline
        datasets.config.HF_HUB_OFFLINE = before or not hub.reachable()
        return load_dataset(name, configuration or None, split=split)
    except FileNotFoundError:  # datasets' DatasetNotFoundError is one
        raise UserError(f"{path}: neither a file nor a data set on the hub; check it") from None
    except (ConnectionError, HfHubHTTPError):
        raise UserError(
            f"{path}: no such file, and the hub cannot be reached; check the path or the network, "
            "or name a file or a folder that save_to_disk made"
        ) from None
    except ValueError as error:  # an unknown split or configuration: the message lists those there
        raise UserError(f"{path}: {' '.join(str(error).split())}") from None
    finally:
        datasets.config.HF_HUB_OFFLINE = before


@dataclass(frozen=True, kw_only=True)
class Glue:
    """One GLUE task: the positions of its columns in the official TSV files, and its classes."""

    folder: str
    columns: tuple[int, ...]  # of the text or the two texts
    label: int
    labels: tuple[str, ...]  # in the hub's and the leaderboard's order of ids; () for scores
    metric: str
    names: tuple[str, ...] = ("sentence1", "sentence2")  # the hub's names of the text columns
    header: bool = True


_ENTAILMENT = ("entailment", "not_entailment")
_NLI = ("entailment", "neutral", "contradiction")
GLUE = {
    "sst2": Glue(
        folder="SST-2",
        columns=(0,),
        label=1,
        labels=("negative", "positive"),
        metric="accuracy",
        names=("sentence",),
    ),
    "cola": Glue(
        folder="CoLA",
        columns=(3,),
        label=1,
        labels=("unacceptable", "acceptable"),
        metric="matthews",
        names=("sentence",),
        header=False,
    ),
    "mrpc": Glue(
        folder="MRPC", columns=(3, 4), label=0, labels=("not_equivalent", "equivalent"), metric="f1"
    ),
    "stsb": Glue(folder="STS-B", columns=(7, 8), label=9, labels=(), metric="pearson"),
    "rte": Glue(folder="RTE", columns=(1, 2), label=3, labels=_ENTAILMENT, metric="accuracy"),
    "qnli": Glue(
        folder="QNLI",
        columns=(1, 2),
        label=3,
        labels=_ENTAILMENT,
        metric="accuracy",
        names=("question", "sentence"),
    ),
    "qqp": Glue(
        folder="QQP",
        columns=(3, 4),
        label=5,
        labels=("not_duplicate", "duplicate"),
        metric="f1",
        names=("question1", "question2"),
    ),
    # the gold label is the last of 12 columns in train and of 16 in dev
    "mnli": Glue(
        folder="MNLI",
        columns=(8, 9),
        label=-1,
        labels=_NLI,
        metric="accuracy",
        names=("premise", "hypothesis"),
    ),
}


def glue(task: str, folder: str | None = None) -> dict[str, Dataset]:
    """The splits `train` and `eval` (the official dev set; matched for mnli) of a GLUE task.

    The columns are `text`, `text_pair` for pairs, and `label`: a class name or, for stsb, a float.
    They are read from a folder of GLUE's official download (`folder` or `folder/SST-2` holds
    train.tsv), or from the hub without one.
    """
    spec = _glue(task)
    matched = "_matched" if task == "mnli" else ""
    if folder is None:
        splits = {"train": "train", "eval": f"validation{matched}"}
        return {key: _from_hub(task, spec, split) for key, split in splits.items()}
    home = Path(folder).expanduser()
    home = home / spec.folder if (home / spec.folder).is_dir() else home
    files = {"train": home / "train.tsv", "eval": home / f"dev{matched}.tsv"}
    for file in files.values():
        if not file.is_file():
            raise UserError(f"{file}: no such file; give a folder with {spec.folder}/{file.name}")
    return {key: _from_file(task, spec, file) for key, file in files.items()}


def glue_kind(task: str) -> str:
    """The kind of a GLUE task: of scores or of classes."""
    return "classification" if _glue(task).labels else "regression"


def has_pairs(task: str) -> bool:
    """Whether the rows of a GLUE task hold two texts each."""
    return len(_glue(task).names) == 2


def _glue(task: str) -> Glue:
    if task not in GLUE:
        raise UserError(f"--task {task}: no such task; there are {', '.join(GLUE)}")
    return GLUE[task]


def _from_hub(task: str, spec: Glue, split: str) -> Dataset:
    data = _hub(f"nyu-mll/glue:{task}", split)
    columns = {
        key: data[name][:] for key, name in zip(("text", "text_pair"), spec.names, strict=False)
    }
    labels = data["label"][:]
    columns["label"] = [spec.labels[i] for i in labels] if spec.labels else labels
    return Dataset.from_dict(columns)


def _from_file(task: str, spec: Glue, file: Path) -> Dataset:
    rows = list(_rows(file, spec.header))
    least = 1 + max(*spec.columns, spec.label)
    for line, row in rows:
        if len(row) < least:
            raise UserError(
                f"{file}, line {line}: {len(row)} fields where {task} has {least}; is this the "
                f"{task} of GLUE?"
            )
    columns = {
        key: [row[position] for _, row in rows]
        for key, position in zip(("text", "text_pair"), spec.columns, strict=False)
    }
    where = [f"{file}, line {line}" for line, _ in rows]
    cells = [row[spec.label] for _, row in rows]
    labels = [_label(cell, spec, place) for cell, place in zip(cells, where, strict=True)]
    if not rows:
        raise UserError(f"{file}: no rows; is this the {task} of GLUE?")
    return dataset({**columns, "label": labels}, file)


def _rows(file: Path, header: bool) -> Iterator[tuple[int, list[str]]]:
    """(line, fields) of each row; a row of another width than the first is skipped and logged."""
    width = 0
    with file.open("rb") as opened:
        for line, row in tsv_cells(opened, file):
            width = width or len(row)
            if len(row) != width:  # the official QQP has a few lines broken in two
                logging.getLogger(__name__).warning(
                    "%s, line %d: left out, %d fields for %d", file, line, len(row), width
                )
            elif line > 1 or not header:
                yield line, row


def _label(cell: str, spec: Glue, position: str) -> str | float:
    """The label of a cell: a class name, which may be written as its id, or a score."""
    if not spec.labels:
        try:
            return float(cell)
        except ValueError:
            raise UserError(f"{position}: score {cell!r} is no number; fix the row") from None
    if cell in spec.labels:
        return cell
    if cell.isdecimal() and int(cell) < len(spec.labels):
        return spec.labels[int(cell)]
    raise UserError(f"{position}: label {cell!r} is none of {', '.join(spec.labels)}")
