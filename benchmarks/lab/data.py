"""Public data sets as they are handed out -> the CSV and CoNLL files that the benchmarks read.

    python -m benchmarks.lab.data DOWNLOADED OUT

DOWNLOADED holds clinc150/data_full.json, snips/{train,valid,test}/{seq.in,seq.out,label},
glue/{SST-2,MRPC,STS-B}/{train,dev}.tsv and policyqa/{train,test}.json; what is not there is left
out, and said. GLUE's public test sets have no labels: test is the official dev set, and valid is
held out of train. PolicyQA, in SQuAD's form, stays as it is and has no valid. With
corpus/wiki-train.txt some of SNIPS are `joined`: each text among sentences that have nothing to do
with its intent.
"""

import csv
import json
import random
import shutil
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from datasets import Dataset

from alembert.data.labels import find_columns
from alembert.data.sources import glue
from alembert.data.tasks import hold_out, infer_task
from benchmarks.lab.results import arguments

SPLITS = ("train", "valid", "test")
JOINED = {"train": 700, "valid": 100, "test": 700}  # rows of joined texts,
SENTENCES, AROUND = 6, (8, 20)  # each among so many others of so many words


def write_csv(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def split_files(data: Path, task: str) -> tuple[str, str, str]:
    """train, valid and test of a task, where `python -m benchmarks.lab.data` puts them."""
    suffix = {"snips": "conll", "policyqa": "json"}.get(task, "csv")
    train, valid, test = (str(data / task / f"{name}.{suffix}") for name in SPLITS)
    return train, valid, test


def clinc150(downloaded: Path, out: Path) -> None:
    """150 intents and, as one class more, the questions out of scope."""
    splits = json.loads((downloaded / "data_full.json").read_text(encoding="utf-8"))
    for name, theirs in (("train", "train"), ("valid", "val"), ("test", "test")):
        rows = splits[theirs] + splits[f"oos_{theirs}"]
        write_csv(out / f"{name}.csv", ("text", "label"), rows)


def snips(downloaded: Path, out: Path) -> None:
    """A word and its tag a line, sentences apart by an empty line."""
    out.mkdir(parents=True, exist_ok=True)
    for name in SPLITS:
        words, tags = (
            (downloaded / name / file).read_text(encoding="utf-8").split("\n")
            for file in ("seq.in", "seq.out")
        )
        blocks = [
            "".join(f"{w} {t}\n" for w, t in zip(word.split(), tag.split(), strict=True))
            for word, tag in zip(words, tags, strict=True)
            if word.strip()
        ]
        (out / f"{name}.conll").write_text("\n".join(blocks), encoding="utf-8")


def snips_intents(downloaded: Path, out: Path) -> None:
    """A text and its intent a row."""
    for name in SPLITS:
        texts, labels = (
            (downloaded / name / file).read_text(encoding="utf-8").split("\n")
            for file in ("seq.in", "label")
        )
        rows = zip((text.strip() for text in texts), labels, strict=True)
        write_csv(out / f"{name}.csv", ("text", "label"), (row for row in rows if row[0]))


def glue_task(task: str, downloaded: Path, out: Path) -> None:
    """train, valid (held out of train) and test (the official dev set)."""
    splits = glue(task, str(downloaded))
    columns = find_columns(splits["train"], task)
    kind = infer_task(splits["train"], columns, task, glue=task)
    train, valid = hold_out(splits["train"], kind, columns)
    for name, data in (("train", train), ("valid", valid), ("test", splits["eval"])):
        write_csv(out / f"{name}.csv", data.column_names, rows_of(data))


def joined(downloaded: Path, out: Path) -> None:
    """SNIPS' intents, each text put between sentences of a corpus, at a place drawn at random."""
    corpus = (downloaded.parent / "corpus" / "wiki-train.txt").read_text(encoding="utf-8")
    sentences = [
        part.strip(" .")
        for paragraph in corpus.splitlines()[:20_000]
        for part in paragraph.split(" . ")
        if AROUND[0] <= len(part.split()) <= AROUND[1]
    ]
    for name, most in JOINED.items():
        dice = random.Random(name)
        texts, labels = (
            (downloaded / name / file).read_text(encoding="utf-8").split("\n")
            for file in ("seq.in", "label")
        )
        rows = [row for row in zip(texts, labels, strict=True) if row[0].strip()]
        made = []
        for text, label in dice.sample(rows, most):
            around = dice.sample(sentences, SENTENCES)
            around.insert(dice.randint(0, SENTENCES), text.strip())
            made.append((". ".join(around), label))
        write_csv(out / f"{name}.csv", ("text", "label"), made)


def policyqa(downloaded: Path, out: Path) -> None:
    """Questions in SQuAD's form."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("train", "test"):
        shutil.copyfile(downloaded / f"{name}.json", out / f"{name}.json")


def rows_of(data: Dataset) -> Iterable[tuple[object, ...]]:
    return zip(*(data[name][:] for name in data.column_names), strict=True)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("downloaded", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    jobs: dict[str, tuple[str, Callable[[Path, Path], None]]] = {
        "clinc150": ("clinc150", clinc150),
        "snips": ("snips", snips),
        "snips-intents": ("snips", snips_intents),
        "sst2": ("glue/SST-2", partial(glue_task, "sst2")),
        "mrpc": ("glue/MRPC", partial(glue_task, "mrpc")),
        "stsb": ("glue/STS-B", partial(glue_task, "stsb")),
        "policyqa": ("policyqa", policyqa),
        "joined": ("snips", joined),
    }
    for name, (folder, convert) in jobs.items():
        if (given.downloaded / folder).is_dir():
            convert(given.downloaded / folder, given.out / name)
            print(f"{name}: {given.out / name}")
        else:
            print(f"{name}: left out, no {given.downloaded / folder}")


if __name__ == "__main__":
    main()
