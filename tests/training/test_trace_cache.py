"""What a teacher says of a corpus is kept: the same losses, read once, noticed when it broke."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.command_line import command
from support.models import tiny
from support.runs import corpus_file, saved, shrunk
from support.stages import CALM, in_fp32
from torch import Tensor
from transformers import BertTokenizerFast, PreTrainedModel

from alembert.data.batches import Batches, Masked
from alembert.data.collate import masking_for
from alembert.data.corpus.corpus import Corpus, read_corpus
from alembert.io.errors import UserError
from alembert.models.loading import load_config
from alembert.models.trace import no_grad_trace
from alembert.objectives.label_terms import HardLabels, SoftLabels
from alembert.objectives.layer_terms import (
    AttentionKL,
    AttentionMSE,
    FeatureMap,
    HiddenCosine,
    HiddenMSE,
    Relations,
)
from alembert.objectives.objective import Objective
from alembert.recipes import recipe_of
from alembert.recipes.schema import Stage, from_yaml, with_run
from alembert.runs.job import Job
from alembert.runs.run import run
from alembert.training import distillation as live
from alembert.training import trace_cache
from alembert.training.distillation import Distillation
from alembert.training.loop import train
from alembert.training.monitor import Length
from alembert.training.trace_cache import Caching

WHOLE = Caching(top=99, precision="fp32")
TRIPLE = (SoftLabels(weight=5.0, temperature=2.0), HardLabels(weight=2.0), HiddenCosine())


@pytest.fixture
def corpus(tmp_path: Path, tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return read_corpus(corpus_file(tmp_path / "corpus.txt"), tokenizer, 32)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many sequences teachers have read to be kept; none is read in training."""
    counts: list[int] = []

    def counted(model: Any, batch: Any, reads: Any) -> Any:
        counts.append(len(batch["input_ids"]))
        return no_grad_trace(model, batch, reads)

    monkeypatch.setattr(trace_cache, "no_grad_trace", counted)
    return counts


def calm(layers: int = 2, seed: int = 0) -> PreTrainedModel:
    model = tiny("bert", "words", layers, seed, 0.3, **CALM)
    for part in model.modules():  # drawn too, they leave every token of four layers alike
        if isinstance(part, torch.nn.LayerNorm):
            part.reset_parameters()
    return model


def kept(
    corpus: Corpus,
    tokenizer: BertTokenizerFast,
    objective: Objective = TRIPLE,
    asked: Caching = WHOLE,
    teacher: PreTrainedModel | None = None,
    seed: int = 0,
) -> tuple[trace_cache.WithTeacherTraces, Distillation]:
    module = Distillation(calm(), teacher or calm(4, seed=1), objective, words=True)
    masking = masking_for(tokenizer, 0.15, 0.7, corpus.counts)
    taught = trace_cache.cached_traces(module, corpus, masking, 0, asked, seed, in_fp32())
    return taught, module


@pytest.mark.parametrize(
    "objective",
    [
        TRIPLE,
        (SoftLabels(rows="masked"), SoftLabels(temperature=4.0, rows="masked")),
        (SoftLabels(rows="masked"), SoftLabels(temperature=4.0), HiddenMSE()),
        (HiddenMSE(), AttentionMSE()),
        (FeatureMap(), AttentionKL(weight=0.1)),
        (Relations(layers=((2, 3),), heads=2),),
    ],
    ids=lambda objective: "+".join(term.kind for term in objective),
)
def test_kept_whole_it_trains_the_weights_that_the_teacher_itself_does(
    objective: Objective, corpus: Corpus, tokenizer: BertTokenizerFast, tmp_path: Path
) -> None:
    stage = Stage.model_validate(
        {"name": "s", "data": "corpus", "steps": 6, "batch_size": 16, "learning_rate": 1e-3}
        | {"micro_batch_size": 6, "objective": objective, "masking": {}, "epsilon": 1e-4}
    )
    taught, module = kept(corpus, tokenizer, objective)
    module.dismiss_teacher()
    asked = Distillation(calm(), calm(4, seed=1), objective, words=True)
    for rows, one in ((taught, module), (taught.rows, asked)):
        batches = Batches(
            rows=rows, batch_size=16, seed=0, pad_token_id=0
        )  # five batches an epoch: some sequences come twice
        folder = tmp_path / f"{one is asked}"
        train(one, stage, batches, Length(6, 6), folder, seed=0, accelerator=in_fp32())
    before = dict(calm().named_parameters())
    for (name, mine), theirs in zip(
        module.student.named_parameters(), asked.student.parameters(), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=0.0, atol=1e-5, msg=name)
    moved = max(
        float((p - before[n]).detach().abs().max()) for n, p in module.student.named_parameters()
    )
    assert moved > 1e-3


def test_cut_and_rounded_it_is_near_and_says_how_much_it_leaves_out(
    news: list[str], corpus: Corpus, tokenizer: BertTokenizerFast
) -> None:
    taught, module = kept(corpus, tokenizer, TRIPLE, Caching(top=40))
    batch = Batches(rows=taught, batch_size=80, seed=0, pad_token_id=0)(0)
    loss, values = module(batch)
    plain = {name: x for name, x in batch.items() if not name.startswith("teacher_")}
    whole, exact = module(plain)  # asks the teacher
    assert values["HiddenCosine"] == pytest.approx(float(exact["HiddenCosine"]), abs=5e-4)
    assert values["HardLabels"] == exact["HardLabels"]
    assert float(values["SoftLabels"]) < float(exact["SoftLabels"])
    assert float(loss) < float(whole)
    teacher = calm(4, seed=1)
    real = plain["attention_mask"].bool()
    with torch.no_grad():
        p = teacher(plain["input_ids"], plain["attention_mask"]).logits[real].div(2).softmax(-1)
    outside = 1 - p.topk(40).values.sum(dim=-1)
    assert outside.std() > 0.005
    assert f"{float(outside.mean()):.2%} of the teacher's mass lies outside the 40" in news[-1]
    rest = torch.cat([row["teacher_rest"][:, 0] for row in map(taught.__getitem__, range(80 - 6))])
    assert float(rest.mean()) == pytest.approx(float(outside.mean()), abs=1e-4)


def test_masks_depend_on_the_seed_and_the_sequence_alone(
    corpus: Corpus, tokenizer: BertTokenizerFast
) -> None:
    masking = masking_for(tokenizer, 0.15, 0.7, corpus.counts)
    rows, other = Masked(corpus, masking, 3), Masked(corpus, masking, 4)
    shown = [rows[i] for i in range(len(corpus))]
    assert [rows[i] for i in reversed(range(len(corpus)))] == shown[::-1]
    assert [other[i] for i in range(len(corpus))] != shown
    for i, row in enumerate(shown):
        drawn = [at for at, label in enumerate(row["labels"]) if label != -100]
        assert len(drawn) == -(-15 * int(corpus.lengths[i]) // 100)
        whole = list(row["input_ids"])
        for at in drawn:
            whole[at] = row["labels"][at]
        assert whole == corpus[i]["input_ids"]


def test_what_was_read_is_read_once_and_what_differs_is_another(
    corpus: Corpus, tokenizer: BertTokenizerFast, read: list[int]
) -> None:
    def reads(**more: Any) -> int:
        read.clear()
        kept(corpus, tokenizer, **more)
        return sum(read) - 1  # one sequence tells how much room all take

    everything = len(corpus)
    assert reads() == everything
    assert reads() == 0
    assert reads(seed=1) == everything
    assert reads(asked=Caching(top=5)) == everything
    assert reads(asked=Caching(top=99)) == everything
    assert reads(objective=(SoftLabels(),)) == everything
    assert reads(teacher=calm(4, seed=2)) == everything
    assert reads() == 0


def test_what_was_killed_goes_on_with_what_is_missing(
    corpus: Corpus,
    tokenizer: BertTokenizerFast,
    read: list[int],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(trace_cache, "FILE", 300_000)
    monkeypatch.setattr(trace_cache, "TOKENS", 100)
    whole, _ = kept(corpus, tokenizer)
    files = sorted((tmp_path / "cache").rglob("*.safetensors"))
    assert len(files) > 3
    contents = [load_file(path) for path in files]
    for path in files:
        path.unlink()
    counted = trace_cache.no_grad_trace

    def killed(*args: Any) -> Any:
        if sum(read) > len(corpus) // 2:
            raise KeyboardInterrupt
        return counted(*args)

    read.clear()
    monkeypatch.setattr(trace_cache, "no_grad_trace", killed)
    with pytest.raises(KeyboardInterrupt):
        kept(corpus, tokenizer)
    there = [path for path in files if path.exists()]
    assert 0 < len(there) < len(files)
    size = int(files[1].stem)
    read.clear()
    monkeypatch.setattr(trace_cache, "no_grad_trace", counted)
    kept(corpus, tokenizer)
    assert sum(read) - 1 == len(corpus) - size * len(there)
    for path, content in zip(files, contents, strict=True):
        assert_same(load_file(path), content)
    assert whole[70]["teacher_words"].shape == (corpus.lengths[70], 99)


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """But for the last bits of a product, which depend on where in memory its factors lie."""
    assert found.keys() == wanted.keys()
    for name in ("teacher_hidden_4", "teacher_gaps", "teacher_rest"):
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-4, atol=1e-4)
    assert (found["teacher_words"] == wanted["teacher_words"]).float().mean() > 0.99  # but for ties


@pytest.mark.parametrize("damage", ["empty", "short", "one bit", "text", "another stretch"])
def test_a_damaged_file_is_noticed_said_and_made_anew(
    news: list[str],
    damage: str,
    corpus: Corpus,
    tokenizer: BertTokenizerFast,
    read: list[int],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(trace_cache, "FILE", 300_000)
    kept(corpus, tokenizer)
    files = sorted((tmp_path / "cache").rglob("*.safetensors"))
    good, size = files[1].read_bytes(), int(files[1].stem)
    content = {
        name: x.clone() for name, x in load_file(files[1]).items()
    }  # the file is written over
    flipped = good[:-1] + bytes([good[-1] ^ 1])
    other = files[-1].read_bytes()
    broken = {"empty": b"", "short": good[:-100], "one bit": flipped, "text": b"x" * 99}
    files[1].write_bytes(broken.get(damage, other))
    read.clear()
    news.clear()
    kept(corpus, tokenizer)
    assert sum(read) - 1 == size
    assert news[0].startswith(f"{files[1]}: is damaged (")
    assert news[0].endswith(f"its {size} rows are made anew")
    assert_same(load_file(files[1]), content)


def test_the_room_it_takes_is_said_before_and_refused_when_there_is_none(
    news: list[str],
    corpus: Corpus,
    tokenizer: BertTokenizerFast,
    read: list[int],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def full(_: Path) -> Any:
        return type("Usage", (), {"free": 1_000_000})

    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", full)
        with pytest.raises(
            UserError, match=r"1\.2 MB are to be written.*1\.0 MB are free.*--cache-top"
        ):
            kept(corpus, tokenizer)
    assert sum(read) == 1
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
    news.clear()
    kept(corpus, tokenizer)
    (file,) = (tmp_path / "cache").rglob("*.safetensors")
    # a token: 16 numbers of a hidden state, 99 ids of 2 bytes, 99 gaps, what is left
    sizes = int(corpus.lengths.sum()) * (16 * 4 + 99 * 2 + 99 * 4 + 4)
    assert f"take {sizes / 1e6:.1f} MB; " in news[0]
    assert sizes < file.stat().st_size < sizes + 2000


def test_a_teacher_that_leaves_no_numbers_is_named(
    corpus: Corpus, tokenizer: BertTokenizerFast
) -> None:
    teacher = calm(4, seed=1)
    torch.nn.init.constant_(teacher.bert.encoder.layer[3].output.dense.bias, float("nan"))
    with pytest.raises(UserError, match="is not a number"):
        kept(corpus, tokenizer, teacher=teacher)


@pytest.mark.parametrize("name", ["distilbert", "mobilebert-joint"])
def test_a_run_is_taught_without_its_teacher(
    name: str,
    tmp_path: Path,
    tokenizer: BertTokenizerFast,
    read: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    teacher = saved(tmp_path / "teacher", tokenizer, layers=4)
    text = corpus_file(tmp_path / "corpus.txt")
    recipe = shrunk(recipe_of(name, load_config(teacher)))
    forward = Distillation.forward

    def alone(self: Distillation, *args: Any) -> Any:
        assert self.teacher is None
        return forward(self, *args)

    monkeypatch.setattr(live.Distillation, "forward", alone)
    weights = []
    for out in ("first", "second"):
        job = Job(
            recipe=with_run(recipe, cache_teacher=True, cache_top=9),
            out=tmp_path / out,
            teacher=teacher,
            corpus=text,
        )
        run(job)
        weights.append(load_file(tmp_path / out / "student" / "model.safetensors"))
        stages = len(list((tmp_path / out / "stages").iterdir()))
        assert sum(read) == (stages * (74 + 1) if out == "first" else stages)
        read.clear()
    assert all(torch.equal(x, weights[1][name]) for name, x in weights[0].items())
    kept = from_yaml(tmp_path / "first" / "recipe.yaml").run
    assert (kept.cache_teacher, kept.cache_top, kept.cache_precision) == (True, 9, "bf16")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--cache-top 9 --corpus c.txt", "--cache-top needs --cache-teacher"),
        ("--cache-teacher", "--cache-teacher caches a teacher's outputs on a corpus"),
        ("--cache-teacher --cache-top 0 --corpus c.txt", "--cache-top 0: must be 1 or more"),
        ("--cache-teacher --cache-precision fp8 --corpus c.txt", "choose bf16 or fp32"),
        (
            "--cache-teacher --corpus c.txt --set stages.general.objective=[{kind: LogitsMSE}]",
            "LogitsMSE of stage 'general' compares the logits of all tokens",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused_in_a_line(
    words: str,
    message: str,
    tmp_path: Path,
    tokenizer: BertTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "teacher", tokenizer, layers=4)
    corpus_file(tmp_path / "c.txt")
    before, _, setting = words.partition(" --set ")
    line = ["distill", "distilbert", "--teacher", "teacher", "--out", "run"]
    line += [*before.split(), *(["--set", setting] if setting else [])]
    capsys.readouterr()
    code = command(line, monkeypatch)
    said = capsys.readouterr().err
    assert code == 2
    assert message in said
    assert said.count("\n") == 1
