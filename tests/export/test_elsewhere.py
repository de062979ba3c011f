"""An exported folder opens in Transformers.js and in sentence-transformers, with the same answers.

Transformers.js is looked for in $ALEMBERT_NODE_MODULES, a folder in which `npm install
@huggingface/transformers` was run, and sentence-transformers in the environment of
$ALEMBERT_SENTENCE_TRANSFORMERS, a Python with `sentence-transformers[onnx]`, whose ONNX extra needs
older packages than ours. Neither asks the network.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.runs import saved
from transformers import BertTokenizerFast

from alembert.export import export
from alembert.export.layout import describe_pooling
from alembert.inference.session import Session
from alembert.models.heads import pooling_of

TEXTS = ["the film is good", "a bad book", "very very good music and a table", "q"]
PAIRS = [("the film is good", "a bad book"), ("music", "the music is good")]
FILES = {"onnx": ("fp32", "model.onnx"), "int8": ("q8", "model_quantized.onnx")}
pytestmark = pytest.mark.slow
NODE_MODULES, PYTHON = "ALEMBERT_NODE_MODULES", "ALEMBERT_SENTENCE_TRANSFORMERS"

JAVASCRIPT = """
import { env, pipeline } from '@huggingface/transformers';
const [home, name, task, dtype, options, texts] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = home;
const ask = await pipeline(task, name, { dtype });
const answers = [];
for (const text of JSON.parse(texts)) {
  const found = await ask(text, JSON.parse(options));
  answers.push(found.tolist ? found.tolist()[0] : found);
}
console.log(JSON.stringify(answers));
"""

VECTORS = """
import json, sys
from sentence_transformers import SentenceTransformer
folder, file, texts = sys.argv[1:]
given = {"file_name": file, "subfolder": "onnx", "provider": "CPUExecutionProvider"}
model = SentenceTransformer(folder, backend="onnx", model_kwargs=given, local_files_only=True)
print(json.dumps(model.encode(json.loads(texts)).tolist()))
"""

SCORES = """
import json, sys
from sentence_transformers import CrossEncoder
folder, file, texts = sys.argv[1:]
given = {"file_name": file, "subfolder": "onnx", "provider": "CPUExecutionProvider"}
model = CrossEncoder(folder, backend="onnx", model_kwargs=given, local_files_only=True)
print(json.dumps(model.predict([tuple(pair) for pair in json.loads(texts)]).tolist()))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tokenizer: BertTokenizerFast) -> Path:
    """texts/ and tags/, classifiers of texts and words, and vectors/, an encoder; all exported."""
    home = tmp_path_factory.mktemp("elsewhere")
    tags = {"id2label": dict(enumerate(("O", "B-x", "I-x")))}
    saved(home / "texts", tokenizer, "classification")
    saved(home / "tags", tokenizer, "tokens", **tags)
    saved(home / "vectors", tokenizer, "encoder", hidden_act="relu")
    for name in ("texts", "tags", "vectors"):
        export.export(str(home / name), ["onnx", "int8"], None, 64)
    return home


def javascript(home: Path, name: str, task: str, dtype: str, texts: Any, **options: Any) -> Any:
    """The answers of Transformers.js's pipeline for a task."""
    node, modules = shutil.which("node"), os.environ.get(NODE_MODULES)
    if node is None:
        pytest.skip("node is not installed")
    if not modules:
        pytest.skip(f"{NODE_MODULES} names no folder with @huggingface/transformers")
    script = Path(modules) / "alembert-elsewhere.mjs"
    script.write_text(JAVASCRIPT)
    words = [str(home), name, task, dtype, json.dumps(options), json.dumps(texts)]
    return said([node, str(script), *words])


def sentence_transformers(program: str, folder: Path, file: str, texts: Any) -> Any:
    """What sentence-transformers computes in an environment of its own."""
    python = os.environ.get(PYTHON)
    if not python:
        pytest.skip(f"{PYTHON} names no Python with sentence-transformers[onnx]")
    return said([python, "-c", program, str(folder), file, json.dumps(texts)])


def said(command: list[str]) -> Any:
    """The JSON that a program prints in its last line."""
    apart = {"HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | apart, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("backend", FILES)
def test_transformers_js_gives_the_same_labels_and_scores(home: Path, backend: str) -> None:
    dtype, _ = FILES[backend]
    found = javascript(home, "texts", "text-classification", dtype, TEXTS, top_k=None)
    ours = Session(home / "texts", backend).predict(TEXTS)
    for theirs, mine in zip(found, ours, strict=True):
        assert theirs[0]["label"] == mine.label
        scores = {each["label"]: each["score"] for each in theirs}
        assert scores == pytest.approx(mine.scores, abs=1e-3)


@pytest.mark.parametrize("backend", FILES)
def test_transformers_js_gives_the_same_vectors(home: Path, backend: str) -> None:
    dtype, _ = FILES[backend]
    found = javascript(home, "vectors", "feature-extraction", dtype, TEXTS, pooling="mean")
    np.testing.assert_allclose(found, Session(home / "vectors", backend).embed(TEXTS), atol=1e-3)


@pytest.mark.parametrize("backend", FILES)
def test_transformers_js_gives_the_same_tags(home: Path, backend: str) -> None:
    dtype, _ = FILES[backend]
    whole = ["good film", "the book is bad", "music"]  # a word has a token here
    found = javascript(home, "tags", "token-classification", dtype, whole, ignore_labels=[])
    ours = Session(home / "tags", backend).tag(whole)
    for theirs, mine in zip(found, ours, strict=True):
        assert [each["entity"] for each in theirs] == [word.label for word in mine.words]
        scores = [word.score for word in mine.words]
        assert [each["score"] for each in theirs] == pytest.approx(scores, abs=1e-3)


@pytest.mark.parametrize("backend", FILES)
def test_sentence_transformers_gives_the_same_vectors(home: Path, backend: str) -> None:
    found = sentence_transformers(VECTORS, home / "vectors", FILES[backend][1], TEXTS)
    np.testing.assert_allclose(found, Session(home / "vectors", backend).embed(TEXTS), atol=1e-3)


@pytest.mark.parametrize("backend", FILES)
def test_sentence_transformers_gives_the_same_scores_of_pairs(home: Path, backend: str) -> None:
    found = sentence_transformers(SCORES, home / "texts", FILES[backend][1], PAIRS)
    np.testing.assert_allclose(found, Session(home / "texts", backend).logits(PAIRS), atol=1e-3)


@pytest.mark.parametrize("pooling", ["mean", "cls", "mean+norm", "cls+norm"])
def test_the_pooling_that_is_written_for_other_tools_is_read_again(
    tmp_path: Path, pooling: str
) -> None:
    describe_pooling(tmp_path, pooling, 16, 64)
    assert pooling_of(tmp_path) == pooling
    modules = json.loads((tmp_path / "modules.json").read_text())
    assert [each["path"] for each in modules][:2] == ["", "1_Pooling"]
    assert (tmp_path / "2_Normalize").is_dir() is pooling.endswith("norm")
    before = (tmp_path / "1_Pooling/config.json").read_text()
    describe_pooling(tmp_path, "cls", 99, 7)  # what is there stays
    assert (tmp_path / "1_Pooling/config.json").read_text() == before
    assert pooling_of(tmp_path) == pooling


def test_a_folder_has_the_files_and_names_that_other_tools_look_for(home: Path) -> None:
    import onnx

    for name, output in (("texts", "logits"), ("vectors", "last_hidden_state")):
        for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            assert (home / name / file).is_file()
        for _, file in FILES.values():
            graph = onnx.load(str(home / name / "onnx" / file)).graph
            inputs = {entry.name: entry.type.tensor_type.shape.dim for entry in graph.input}
            assert list(inputs) == ["input_ids", "attention_mask", "token_type_ids"]
            assert all(dim.dim_param for shape in inputs.values() for dim in shape)
            assert output in {entry.name for entry in graph.output}
    assert (home / "vectors/modules.json").is_file()
    assert not (home / "texts/modules.json").is_file()
    assert (home / "vectors/1_Pooling/config.json").is_file()


def test_an_export_under_the_earlier_name_is_read_and_replaced(home: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(home / "texts", old)
    (old / "checksums.json").unlink()
    (old / "onnx/model_quantized.onnx").rename(old / "onnx/model_int8.onnx")
    at = old / "deploy.json"
    at.write_text(at.read_text().replace("model_quantized.onnx", "model_int8.onnx"))
    assert Session(old).predict(TEXTS) == Session(home / "texts").predict(TEXTS)
    export.export(str(old), ["onnx", "int8"], None, 64)
    assert sorted(path.name for path in (old / "onnx").iterdir()) == [
        "model.onnx", "model_quantized.onnx"
    ]  # fmt: skip
    assert Session(old).predict(TEXTS) == Session(home / "texts").predict(TEXTS)
