"""A student's vocabulary cut to the texts of its task: size, accuracy and latency before and after.

    python -m benchmarks.quality.trimmed DATA STUDENT OUT --distilled RUN --corpus TEXT \\
        --results results/trim

DATA holds train.csv, valid.csv and test.csv. STUDENT is trimmed to the texts of train, to their
most frequent pieces, and to them and those of TEXT; RUN is a run with --vocabulary task. (Both are
runs of `benchmarks.quality.run vocabulary`.) All are exported to int8, judged on test, and timed on
its texts: one thread, one text a batch, tokenisation included, in turns.
"""

import shutil
from pathlib import Path

from transformers import AutoTokenizer

from alembert.bench.bench import bench, texts_of
from alembert.data.splits import Files
from alembert.export.export import export
from alembert.models.loading import model_path
from alembert.runs.evaluate import judge
from alembert.runs.trim import trim_model
from benchmarks.lab.results import Row, arguments, write
from benchmarks.lab.tables import Cell, markdown

LENGTH = 64
FEWER, MORE = 4_000, 15_000  # pieces
SECONDS = 6.0  # that a row is timed


def made(data: Path, student: str, out: Path, distilled: str, corpus: str) -> dict[str, Path]:
    """The models, each in a folder of its own: what is made of it -> folder."""
    found = {}
    for name, source in (("whole", student), ("distilled-trimmed", distilled)):
        found[name] = Path(shutil.copytree(model_path(source), out / name))
    for name, text, keep in (
        ("trimmed", None, None),
        ("trimmed-fewer", None, FEWER),
        ("trimmed-more", corpus, MORE),
    ):
        found[name] = out / name
        trim_model(
            student, found[name], data=[str(data / "train.csv")], corpus=text, keep=keep,
            coverage=1.0, text=None, text_pair=None,
        )  # fmt: skip
    return found


def alike(before: Path, after: Path, texts: list[str]) -> float:
    """The share of texts that give the same pieces."""
    ways = [AutoTokenizer.from_pretrained(at) for at in (before, after)]
    same = [ways[0].tokenize(text) == ways[1].tokenize(text) for text in texts]
    return sum(same) / len(same)


def measured(models: dict[str, Path], data: Path) -> list[Row]:
    """One row a model and backend."""
    test = Files(train=str(data / "test.csv"))
    for at in models.values():
        export(str(at), ["onnx", "int8"], Files(train=str(data / "valid.csv")), LENGTH)
    texts = texts_of(str(data / "test.csv"), None, None)
    names = [str(at) for at in models.values()]
    rows = bench(
        names,
        ["torch", "onnx", "int8"],
        [1],
        1,
        LENGTH,
        texts,
        SECONDS,
        [f"{names[0]}:int8"],
    )
    scores = {
        (name, backend): judge(str(at), test, LENGTH, backend).metrics["accuracy"]
        for name, at in models.items()
        for backend in ("torch", "onnx", "int8")
    }
    shares = {name: alike(models["whole"], at, [str(t) for t in texts]) for name, at in
              models.items()}  # fmt: skip
    sizes = {name: len(AutoTokenizer.from_pretrained(at)) for name, at in models.items()}
    folders = {name: sum(f.stat().st_size for f in saved(at)) / 1e6 for name, at in models.items()}
    return [
        {
            **row.content(), "model": (name := Path(row.model).name), "pieces": sizes[name],
            "folder_mb": round(folders[name], 2), "read_alike": shares[name],
            "accuracy": scores[name, row.backend],
        }
        for row in rows
    ]  # fmt: skip


def saved(at: Path) -> list[Path]:
    """What save_pretrained wrote."""
    names = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    return [at / name for name in names]


COLUMNS: dict[str, Cell] = {
    "model": "{model}", "backend": "{backend}", "tokens in the vocabulary": "{pieces:,}",
    "parameters": lambda row: f"{row['parameters'] / 1e6:.2f} M",
    "folder MB": "{folder_mb:.1f}", "weights MB": "{size_mb:.1f}",
    "test accuracy": "{accuracy:.4f}", "test texts tokenised as before": "{read_alike:.1%}",
    "CPU ms a text": "{cpu_ms[median]:.3f}",
}  # fmt: skip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("student")
    parser.add_argument("out", type=Path)
    parser.add_argument("--distilled", required=True)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--results", type=Path, required=True)
    given = parser.parse_args()
    models = made(given.data, given.student, given.out, given.distilled, given.corpus)
    rows = measured(models, given.data)
    write(given.results / "results.json", rows)
    print(markdown(rows, COLUMNS))


if __name__ == "__main__":
    main()
