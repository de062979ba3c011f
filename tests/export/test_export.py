"""What is exported answers as torch does, whole or not at all, and the variant chosen is earned."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.command_line import command
from support.models import tiny
from support.runs import WORDS, saved, task_file
from transformers import BertConfig, BertTokenizerFast, MPNetConfig, PreTrainedConfig, T5Config

from alembert.data.splits import Files
from alembert.export import choose, fidelity
from alembert.export import export as exporting
from alembert.export.folding import folded
from alembert.export.onnx import export, input_names, pooled
from alembert.export.quantize import dynamic_int8, parts
from alembert.export.torch_session import TorchEngine
from alembert.inference import manifest as deployed
from alembert.inference.engine import open_engine
from alembert.inference.manifest import Manifest, Variant
from alembert.io import environment
from alembert.io.errors import UserError
from alembert.models import checks
from alembert.models.heads import kind_of, pooling_of

IBBERT = {"intra_bottleneck_size": 32, "true_hidden_size": 32, "embedding_size": 8}


def one(file: str, kind: str, inputs: tuple[str, ...]) -> Manifest:
    """Facts of a single file, as the engine needs them."""
    variant = Variant(backend="onnx", file=file, runtime="onnxruntime", precision="fp32", size_mb=0)
    return Manifest(
        kind=kind,
        labels=(),
        max_length=64,
        inputs=inputs,
        parameters=1,
        chosen="onnx",
        variants=(variant,),
    )


def said(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Exit code, stdout and stderr of a command."""
    code = command(line, monkeypatch)
    found = capsys.readouterr()
    return code, found.out, found.err


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [
        ("distilbert", "tokens"),
        pytest.param("mobilebert", "words", marks=pytest.mark.slow),
        pytest.param("roberta", "words", marks=pytest.mark.slow),
        pytest.param("ibbert", "encoder", marks=pytest.mark.slow),
    ],
)
def test_a_graph_answers_as_torch_does_for_every_shape(
    architecture: str, kind: str, tmp_path: Path
) -> None:
    more = IBBERT if architecture == "ibbert" else {}
    model = tiny(architecture, kind, std=0.1, **more)
    pooling = "mean+norm" if kind == "encoder" else ""
    export(model, kind, tmp_path / "model.onnx", pooling)
    room = 64
    names = input_names(model, kind)
    batches = fidelity.random_batches(names, 99, int(model.config.pad_token_id), room)
    shapes = [batch["input_ids"].shape for batch in batches]
    assert shapes[0] == (1, 1)
    assert shapes[-1] == (1, room)
    assert shapes[3] == (16, room)
    engine = open_engine(tmp_path, one("model.onnx", kind, names))
    found = fidelity.engine_outputs(engine, kind, batches)
    expected = fidelity.engine_outputs(TorchEngine(model, kind, pooling), kind, batches)
    for mine, true in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, true, rtol=1e-4, atol=1e-4 * float(np.abs(true).max()))


def test_folding_changes_no_answer_and_leaves_the_model_alone() -> None:
    model = tiny("mobilebert", "words", std=0.3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ids = torch.randint(5, 99, (2, 9), generator=torch.Generator().manual_seed(0))
    smaller = folded(model)
    with torch.no_grad():
        mine, true = smaller(input_ids=ids).logits, model(input_ids=ids).logits
    torch.testing.assert_close(mine, true, rtol=1e-4, atol=1e-4 * float(true.abs().max()))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    kinds = [type(module).__name__ for module in smaller.modules()]
    assert kinds.count("NoNorm") == 1  # the embeddings', after which no matrix comes alone
    assert "MobileBertLMPredictionHead" not in kinds


def test_pooling_is_worked_out_by_hand() -> None:
    hidden = torch.tensor([[[3.0, 0.0], [1.0, 8.0], [9.0, 9.0]]])
    mask = torch.tensor([[1, 1, 0]])
    assert pooled(hidden, mask, "mean").tolist() == [[2.0, 4.0]]
    assert pooled(hidden, mask, "cls").tolist() == [[3.0, 0.0]]
    assert pooled(hidden, mask, "cls+norm").tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize(
    ("pooling", "modules", "expected"),
    [
        (None, None, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, None, "cls"),
        ({"pooling_mode_mean_tokens": True}, ["Transformer", "Pooling", "Normalize"], "mean+norm"),
        ({"pooling_mode": "cls"}, ["Transformer", "Pooling"], "cls"),
    ],
)
def test_pooling_is_what_the_files_of_an_encoder_say(
    pooling: Any, modules: list[str] | None, expected: str, tmp_path: Path
) -> None:
    write(tmp_path, pooling, modules)
    assert pooling_of(tmp_path) == expected


@pytest.mark.parametrize(
    ("pooling", "modules", "message"),
    [
        ({"pooling_mode_max_tokens": True}, None, "pooling_mode_max_tokens cannot be exported"),
        (None, ["Transformer", "Pooling", "Dense"], "a module Dense cannot be exported"),
    ],
)
def test_an_encoder_that_no_graph_can_be_is_refused(
    pooling: Any, modules: list[str] | None, message: str, tmp_path: Path
) -> None:
    write(tmp_path, pooling, modules)
    with pytest.raises(UserError, match=message):
        pooling_of(tmp_path)


def write(folder: Path, pooling: Any, modules: list[str] | None) -> None:
    (folder / "1_Pooling").mkdir()
    if pooling is not None:
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    if modules is not None:
        types = [{"type": f"sentence_transformers.models.{name}"} for name in modules]
        (folder / "modules.json").write_text(json.dumps(types))


def test_the_kind_of_a_model_is_read_off_its_config() -> None:
    def config(architecture: str, **more: Any) -> PreTrainedConfig:
        return BertConfig(architectures=[architecture], **more)

    text = "BertForSequenceClassification"
    assert kind_of(config(text, num_labels=3), "m") == "classification"
    assert kind_of(config(text, num_labels=1), "m") == "regression"
    several = "multi_label_classification"
    assert kind_of(config(text, num_labels=3, problem_type=several), "m") == "multilabel"
    assert kind_of(config("BertForTokenClassification"), "m") == "tokens"
    assert kind_of(config("BertForMaskedLM"), "m") == "words"
    assert kind_of(config("BertModel"), "m") == "encoder"
    with pytest.raises(UserError, match="m: a BertForMultipleChoice is not known"):
        kind_of(config("BertForMultipleChoice"), "m")
    assert kind_of(config("BertForQuestionAnswering"), "m") == "question answering"
    with pytest.raises(UserError, match="m: a regression with 2 scores is not known"):
        kind_of(config(text, num_labels=2, problem_type="regression"), "m")


def test_fidelity_is_worked_out_by_hand() -> None:
    true = [np.array([[4.0, 0.0], [0.0, 2.0]], np.float32)]
    mine = [np.array([[4.0, 0.0], [1.0, 0.0]], np.float32)]
    found = fidelity.fidelity("classification", mine, true)
    assert found["max_error"] == 0.5  # 2 of 4
    assert found["agreement"] == 0.5
    # covariance 2.125 of variances 2.75 and 2.6875
    assert found["correlation"] == pytest.approx(2.125 / (2.75 * 2.6875) ** 0.5)
    assert "agreement" not in fidelity.fidelity("regression", mine, true)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, tokenizer: BertTokenizerFast) -> Path:
    """A model for texts, exported in fp32 and int8, and its data."""
    home = tmp_path_factory.mktemp("house")
    saved(home / "model", tokenizer, "classification")
    saved(home / "words", tokenizer)
    task_file(home / "data.csv")
    exporting.export(str(home / "model"), ["onnx", "int8", "attentions"], None, 64)
    return home


def test_an_export_says_what_it_is(house: Path) -> None:
    facts = deployed.read_manifest(house / "model")
    assert (facts.kind, facts.labels, facts.max_length) == (
        "classification",
        tuple(sorted(WORDS)),
        64,
    )
    assert facts.inputs == ("input_ids", "attention_mask", "token_type_ids")
    assert [variant.backend for variant in facts.variants] == ["onnx", "int8", "attentions"]
    assert facts.chosen == "int8"
    assert facts.variants[0].fidelity["max_error"] < 1e-5
    assert facts.variants[1].fidelity["correlation"] > 0.99
    assert {"torch", "onnxruntime", "onnx"} <= facts.versions.keys()
    assert (facts.vocabulary, facts.width) == (99, 16)
    model = house / "model"
    assert not list(model.glob(".export*"))
    for variant in facts.variants:
        size = (model / variant.file).stat().st_size / 1e6
        assert variant.size_mb == pytest.approx(size)
        assert str(Path.cwd()).encode() not in (model / variant.file).read_bytes()


def test_int8_of_another_kind_of_processor_is_used_with_a_warning(
    news: list[str], house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = deployed.read_manifest(house / "model")
    made = here.variant("int8", house / "model")
    assert made.bits == (7 if environment.int8_overflows() else 8)
    for bits, overflows, warned in ((8, True, True), (7, True, False), (0, True, False)):
        facts = replace(here, variants=(replace(made, bits=bits),))
        monkeypatch.setattr("alembert.inference.engine.int8_overflows", lambda o=overflows: o)
        news.clear()
        open_engine(house / "model", facts, "int8")
        assert any("made for a processor with VNNI" in line for line in news) is warned


def test_attentions_are_those_of_torch(house: Path) -> None:
    from alembert.models.loading import load_model

    ids = np.array([[2, 5, 6, 3], [2, 9, 3, 0]])
    mask = (ids > 0).astype(np.int64)
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    engine = open_engine(house / "model", deployed.read_manifest(house / "model"), "attentions")
    logits, attentions = engine.outputs(inputs)
    model = load_model(str(house / "model"), "classification")
    model.set_attn_implementation("eager")
    given = {name: torch.from_numpy(value) for name, value in inputs.items()}
    with torch.no_grad():
        true = model(**given, output_attentions=True)
    np.testing.assert_allclose(logits, true.logits, atol=1e-5)
    np.testing.assert_allclose(attentions, torch.stack(true.attentions), atol=1e-5)
    assert (attentions[:, 1, :, :, 3] == 0).all()  # nothing is read of padding
    np.testing.assert_array_equal(engine(inputs), logits)


def test_evaluate_asks_the_exported_model(
    house: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(house)
    line = "evaluate model --data data.csv --max-length 32"
    torchs = said(line, monkeypatch, capsys)
    assert said(f"{line} --backend onnx", monkeypatch, capsys) == torchs
    code, _, error = said(f"{line} --backend openvino", monkeypatch, capsys)
    assert code == 2
    assert "model: not exported for openvino; there is onnx, int8, attentions" in error


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("export model --auto", "--auto needs --data F"),
        ("export words --auto --data data.csv --text text", "--auto: a model of kind 'words' has"),
        ("export model --auto --data data.csv --keep 2", "--keep 2: a share of the metric"),
        ("export model --keep 0.5", "--keep is for choosing among variants: it needs --auto"),
        ("export model --label x", "--label is for choosing among variants: it needs --auto"),
        ("export nowhere", "nowhere: no such folder: an export goes beside a saved model"),
        ("export model --data none.csv", "none.csv: no such file"),
        ("evaluate words --data data.csv --backend onnx", "words: not exported: 'alembert export"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_a_line(
    line: str,
    message: str,
    house: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(house)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, _, error = said(f"{line} --max-length 32", monkeypatch, capsys)
    assert code == 2
    assert error.count("\n") == 1
    assert message in error


def test_an_export_that_fails_leaves_the_one_before(
    house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in (house / "model").rglob("*") if path.is_file()}

    monkeypatch.setattr(
        exporting.fidelity, "engine_outputs", lambda *given: [np.full((1, 1), np.nan)]
    )
    monkeypatch.setattr(exporting.onnx_export, "export", lambda *given: given[2].touch())
    monkeypatch.setattr(exporting, "open_engine", lambda *given: None)
    with pytest.raises(UserError, match=r"onnx/model\.onnx differs from torch"):
        exporting.export(str(house / "model"), ["onnx"], None, 64)
    after = {path: path.read_bytes() for path in (house / "model").rglob("*") if path.is_file()}
    assert after == before


def test_an_export_that_cannot_be_put_in_place_leaves_the_one_before(
    tmp_path: Path, house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model"
    shutil.copytree(house / "model", model)
    (model / "openvino").write_text("in the way")
    before = {path: path.read_bytes() for path in model.rglob("*") if path.is_file()}
    variant = Variant(
        backend="openvino-int8",
        file="openvino/model_int8.xml",
        runtime="openvino",
        precision="int8",
        size_mb=0,
    )
    made = (house / "model" / "onnx" / "model.onnx").read_bytes()
    monkeypatch.setattr(exporting.onnx_export, "export", lambda *given: given[2].write_bytes(made))
    monkeypatch.setattr(exporting, "make_variant", lambda *given: variant)
    with pytest.raises(UserError, match="cannot be written"):
        exporting.export(str(model), ["openvino-int8"], None, 64)
    assert {path: path.read_bytes() for path in model.rglob("*") if path.is_file()} == before


def test_what_another_program_exported_is_not_overwritten(tmp_path: Path, house: Path) -> None:
    shutil.copytree(house / "model", tmp_path / "model")
    (tmp_path / "model" / deployed.FILE).unlink()
    with pytest.raises(UserError, match=r"onnx/model\.onnx: is there already, and no deploy\.json"):
        exporting.export(str(tmp_path / "model"), ["onnx"], None, 64)


def test_a_variant_that_follows_its_model_no_more_is_left_out(
    news: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = {
        name: Variant(
            backend=name,
            file=name,
            runtime="onnxruntime",
            precision=name,
            size_mb=0,
            fidelity={"correlation": alike},
        )
        for name, alike in (("onnx", 1.0), ("int8", 0.2))
    }
    monkeypatch.setattr(exporting, "make_variant", lambda work, facts, backend: made[backend])
    work: Any = None  # made does not look at it, either
    facts: Any = None  # made does not look at them
    found = exporting.make_variants(work, facts, ["onnx", "int8"])
    assert [variant.backend for variant in found] == ["onnx"]
    assert news == ["int8 is left out: its outputs differ too much from the model's"]


def test_a_new_export_takes_the_place_of_the_old_one(
    tmp_path: Path, house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(house / "model", tmp_path / "model")
    (tmp_path / "model" / "onnx" / "mine.txt").write_text("kept")
    made = (house / "model" / "onnx" / "model.onnx").read_bytes()
    monkeypatch.setattr(exporting.onnx_export, "export", lambda *given: given[2].write_bytes(made))
    facts = exporting.export(str(tmp_path / "model"), ["onnx"], None, 64)
    assert facts == deployed.read_manifest(tmp_path / "model")
    assert facts.chosen == "onnx"
    left = sorted(path.name for path in (tmp_path / "model" / "onnx").iterdir())
    assert left == ["mine.txt", "model.onnx"]


@pytest.mark.slow
def test_openvino_answers_as_torch_does_and_int8_needs_texts(
    news: list[str], house: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "openvino-int8" not in exporting.backends_of(False, True, False, False)
    assert "openvino-int8 is left out: it needs real texts" in news[0]
    shutil.copytree(house / "model", tmp_path / "model")
    made = (house / "model" / "onnx" / "model.onnx").read_bytes()
    monkeypatch.setattr(exporting.onnx_export, "export", lambda *given: given[2].write_bytes(made))
    backends = exporting.backends_of(False, True, False, True)
    facts = exporting.export(
        str(tmp_path / "model"), backends, Files(train=str(house / "data.csv")), 32
    )
    assert facts.chosen == "onnx"  # never OpenVINO unasked
    exact, half, whole = facts.variants[1:]
    assert exact.file == half.file == "onnx/model.onnx"
    assert exact.fidelity["max_error"] < 1e-4
    if exporting.has_bf16():
        assert half.fidelity["max_error"] > 1e-4
        assert not half.how
    else:
        assert half.fidelity["max_error"] < 1e-4
        assert half.how == "measured in fp32: this processor has no bf16"
    assert whole.fidelity["correlation"] > 0.9
    assert whole.how in ("SmoothQuant", "without SmoothQuant")
    assert (tmp_path / "model" / "openvino" / "model_int8.bin").is_file()


def test_bf16_on_a_processor_without_it_is_said(
    news: list[str], house: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(house / "model", tmp_path / "model")
    made = (house / "model" / "onnx" / "model.onnx").read_bytes()
    monkeypatch.setattr(exporting.onnx_export, "export", lambda *given: given[2].write_bytes(made))
    monkeypatch.setattr(exporting, "has_bf16", lambda: False)
    exporting.export(str(tmp_path / "model"), ["onnx", "openvino-bf16"], None, 32)
    said = "measured in fp32: this processor has no bf16"
    assert f"openvino-bf16 is {said}" in news
    facts = deployed.read_manifest(tmp_path / "model")
    assert facts is not None
    assert facts.variant("openvino-bf16", tmp_path).how == said


def test_int8_embeddings_are_within_half_a_step_of_their_row(tmp_path: Path) -> None:
    import onnx

    model = tiny("distilbert", "classification", vocab_size=1200)
    export(model, "classification", tmp_path / "model.onnx")
    found = parts(tmp_path / "model.onnx")
    assert found[:3] == [
        "word_embeddings", "distilbert.transformer.layer.0.attention",
        "distilbert.transformer.layer.0.ffn",
    ]  # fmt: skip
    assert found[-2:] == ["pre_classifier", "classifier"]
    dynamic_int8(tmp_path / "model.onnx", tmp_path / "int8.onnx")
    stored = {
        entry.name.removeprefix("model."): onnx.numpy_helper.to_array(entry)
        for entry in onnx.load(str(tmp_path / "int8.onnx")).graph.initializer
    }
    name = "distilbert.embeddings.word_embeddings.weight"
    true = model.state_dict()[name].numpy()
    assert stored[f"{name}_int8"].dtype == np.int8
    steps = stored[f"{name}_scale"]
    assert steps.shape == (1200, 1)
    assert (np.abs(stored[f"{name}_int8"] * steps - true) <= steps * 0.5001).all()
    dynamic_int8(tmp_path / "model.onnx", tmp_path / "spared.onnx", keep_fp32=found)
    kinds = [node.op_type for node in onnx.load(str(tmp_path / "spared.onnx")).graph.node]
    assert "MatMulInteger" not in kinds
    assert "Cast" not in kinds or kinds.count("Cast") == 1  # the mask's alone


@pytest.mark.slow
def test_a_part_that_int8_ruins_stays_in_fp32(
    news: list[str], tmp_path: Path, tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    # one number 300 times the others, undone by the next matrix: torch does not mind, int8 does
    home, labels = tmp_path / "model", sorted(WORDS)
    names = {"id2label": dict(enumerate(labels)), "label2id": {x: i for i, x in enumerate(labels)}}
    model = tiny("bert", "classification", std=0.3, seed=4, **names)
    attention = model.bert.encoder.layer[1].attention
    data = tmp_path / "data.csv"
    task_file(data, labelled=False)
    texts = data.read_text().splitlines()[1:]
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.reset_parameters()
        attention.self.value.bias[3] += 300.0
        attention.output.dense.bias -= 300.0 * attention.output.dense.weight[:, 3]
        inputs = [tokenizer(text, return_tensors="pt") for text in texts]
        model.classifier.bias -= torch.cat([model(**each).logits for each in inputs]).median(0)[0]
        rows = [model(**each).logits.argmax() for each in inputs]
    model.save_pretrained(home)
    tokenizer.save_pretrained(home)
    lines = [f"{text},{labels[int(row)]}" for text, row in zip(texts, rows, strict=True)]
    data.write_text("\n".join(["text,label", *lines]) + "\n")
    monkeypatch.setattr(choose, "ALL", ("onnx", "int8"))
    facts = choose.choose(str(home), Files(train=str(data)), 0.9, False, 32)
    part = "bert.encoder.layer.1.attention"
    assert facts.variants[1].kept_fp32 == (part,)
    assert any(line.startswith("no int8 variant keeps 90.0%") and part in line for line in news)
    fp32, int8 = (variant.measured for variant in facts.variants)
    assert fp32["accuracy"] == 1.0
    assert int8["accuracy"] >= 0.9
    assert facts.chosen == min(("onnx", fp32), ("int8", int8), key=lambda v: v[1]["cpu_ms"])[0]
    assert deployed.read_manifest(home) == facts


def test_a_model_that_is_no_encoder_is_refused_by_its_type(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a model of type 't5' is no encoder"):
        checks.positions(T5Config())
    assert checks.positions(MPNetConfig(max_position_embeddings=514)) == 512
