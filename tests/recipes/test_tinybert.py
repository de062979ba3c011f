"""TinyBERT: what its terms compute, its recipe's sizes, its stages from start to end."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas import read_parquet
from support.models import tiny, words
from support.runs import corpus_file, saved, task_file
from support.tasks import KINDS
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    BertConfig,
    BertTokenizerFast,
)

from alembert.data.splits import Files
from alembert.initialization.student import from_teacher
from alembert.io.errors import UserError
from alembert.models.loading import load_config
from alembert.models.trace import Trace
from alembert.objectives import functional
from alembert.objectives.label_terms import SoftLabels
from alembert.objectives.layer_terms import AttentionMSE, HiddenMSE
from alembert.recipes import recipe_of
from alembert.recipes.choose import choose_recipe
from alembert.recipes.finetune import finetune
from alembert.recipes.overrides import with_settings
from alembert.recipes.schema import Recipe
from alembert.runs.job import Job
from alembert.runs.run import run
from alembert.training.distillation import Distillation

SHORT = {
    f"stages.{stage}.{field}": value
    for stage in ("general", "intermediate", "prediction")
    for field, value in {"steps": "3", "batch_size": "8", "max_length": "32"}.items()
}


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 9), st.integers(0, 99))
def test_attention_without_its_matrix_is_attention_with_it(
    batch: int, tokens: int, seed: int
) -> None:
    dice = torch.Generator().manual_seed(seed)
    queries, keys = torch.randn(2, batch, 3, tokens, 4, generator=dice, requires_grad=True)
    others = torch.randn(2, batch, 3, tokens, 6, generator=dice)
    mask = (torch.arange(tokens) < torch.randint(1, tokens + 1, (batch, 1), generator=dice)).long()
    plain = functional.attention_mse(queries @ keys.mT, others[0] @ others[1].mT, mask)
    short = functional.attention_mse_of((queries, keys), (others[0], others[1]), mask)
    torch.testing.assert_close(short, plain, rtol=1e-4, atol=1e-5)
    for mine, want in zip(
        torch.autograd.grad(short, (queries, keys)),
        torch.autograd.grad(plain, (queries, keys)),
        strict=True,
    ):
        torch.testing.assert_close(mine, want, rtol=1e-3, atol=1e-5)


def slope(value: Callable[[Tensor], Tensor], at: Tensor, along: Tensor, step: float) -> float:
    """The derivative along a direction by central differences."""
    with torch.no_grad():
        return float(value(at + step * along) - value(at - step * along)) / (2 * step)


@pytest.mark.parametrize(
    ("term", "part"),
    [
        (HiddenMSE(), "hidden"),
        (AttentionMSE(), "queries"),
        (AttentionMSE(), "keys"),
        (AttentionMSE(heads=2), "queries"),
        (SoftLabels(temperature=1.0), "logits"),
    ],
)
def test_each_terms_gradient_is_its_slope(
    term: HiddenMSE | AttentionMSE | SoftLabels, part: str
) -> None:
    dice = torch.Generator().manual_seed(0)
    shapes = {"hidden": (2, 6, 8), "queries": (2, 4, 6, 2), "keys": (2, 4, 6, 2), "logits": (2, 3)}
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    batch = {"attention_mask": mask, "labels": torch.tensor([0, 2])}

    def left(**own: Tensor) -> Trace:
        made = {name: torch.randn(shape, generator=dice) for name, shape in shapes.items()} | own
        return Trace(
            hidden={0: made["hidden"], 1: made["hidden"] * 2},
            queries={1: made["queries"]},
            keys={1: made["keys"]},
            values={},
            logits=made["logits"],
        )

    teacher, fixed = left(), {n: torch.randn(s, generator=dice) for n, s in shapes.items()}
    pairs = term.pairs(1, 1)

    def value(x: Tensor) -> Tensor:
        return term(left(**(fixed | {part: x})), teacher, pairs, batch)

    at = fixed[part].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(at), at)
    for _ in range(3):
        along = torch.randn(at.shape, generator=dice)
        measured = slope(value, at.detach(), along, 3e-3)
        assert float((gradient * along).sum()) == pytest.approx(measured, rel=2e-3, abs=1e-3)


def test_heads_that_differ_are_compared_when_regrouped() -> None:
    student, teacher = tiny("bert", num_attention_heads=2), tiny("bert", seed=1)
    batch = {k: v for k, v in words().items() if k != "labels"}
    loss, values = Distillation(student, teacher, (AttentionMSE(heads=8),), words=True)(batch)
    scores = []
    for model in (student, teacher):
        layer = model.base_model.encoder.layer[1].attention.self
        hidden = model.base_model(**batch, output_hidden_states=True).hidden_states[1]
        queries, keys = (
            f(hidden).view(3, 7, 8, 2).transpose(1, 2) for f in (layer.query, layer.key)
        )
        scores.append(queries @ keys.mT / 2**0.5)
    second = functional.attention_mse(scores[0], scores[1], batch["attention_mask"])
    assert values["AttentionMSE"].item() > second.item() > 0
    only = Distillation(student, teacher, (AttentionMSE(heads=8, layers=((2, 2),)),), words=True)
    torch.testing.assert_close(only(batch)[0], second)
    loss.backward()


def test_heads_that_cannot_be_regrouped_so_are_refused() -> None:
    student, teacher = tiny("bert", num_attention_heads=2), tiny("bert")
    with pytest.raises(UserError, match=r"regrouped into 3.* with N one of \[1, 2, 4\]"):
        Distillation(student, teacher, (AttentionMSE(heads=3),), words=True)


def test_projections_start_at_the_least_squares_answer() -> None:
    student, teacher = tiny("bert", hidden_size=8), tiny("bert", seed=1)
    batch = {k: v for k, v in words(40).items() if k != "labels"}
    objective = (HiddenMSE(),)
    module = Distillation(student, teacher, objective, words=True, projections="layer").eval()
    drawn = module(batch)[0].item()
    module.start_projections(batch)
    best = module(batch)[0].item()
    assert best < drawn
    (module(batch)[0]).backward()
    for projection in module.projections.values():
        assert projection.weight.grad.abs().max() < 1e-2  # nowhere left to go but the ridge


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [({}, (4, 312, 1200, 12)), ({"layers": 3, "hidden_size": 192}, (3, 192, 768, 12))],
)
def test_the_recipe_has_the_papers_sizes_or_those_asked_for(
    sizes: dict[str, int], expected: tuple[int, ...]
) -> None:
    student = recipe_of("tinybert", BertConfig(), **sizes).student
    fields = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads")
    assert tuple(student[name] for name in fields) == expected


def test_tinybert6_is_as_wide_as_its_teacher() -> None:
    recipe = recipe_of("tinybert6", BertConfig())
    assert (recipe.student["num_hidden_layers"], recipe.student["hidden_size"]) == (6, 768)
    assert recipe.projections == "none"


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"layers": 13}, "--layers 13: .* 1 to 12"),
        ({"hidden_size": 1024}, "--hidden-size 1024: .* 1 to 768 wide"),
        ({"hidden_size": 100}, "--hidden-size 100: .* take 96 or 108"),
    ],
)
def test_sizes_a_teacher_cannot_give_are_refused(sizes: dict[str, int], said: str) -> None:
    with pytest.raises(UserError, match=said):
        recipe_of("tinybert", BertConfig(), **sizes)


def shrunk(teacher: str, name: str = "tinybert", **sizes: int) -> Recipe:
    recipe = with_settings(recipe_of(name, load_config(teacher), **sizes), SHORT)
    return recipe.model_copy(update={"student": recipe.student | {"intermediate_size": 16}})


def test_every_stage_runs_and_plain_transformers_gives_the_same_logits(
    news: list[str], tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    teacher = saved(tmp_path / "teacher", tokenizer, "classification")
    train, test = task_file(tmp_path / "train.csv"), task_file(tmp_path / "test.csv", 12, 1)
    job = Job(
        recipe=shrunk(teacher, layers=2, hidden_size=8),
        out=tmp_path / "run",
        teacher=teacher,
        corpus=corpus_file(tmp_path / "corpus.txt"),
        files=Files(train=train, valid=None, evaluation=test),
    )
    metrics = run(job)
    assert sum("done in" in line for line in news) == 3
    general = AutoModel.from_pretrained(tmp_path / "run" / "stages" / "01-general" / "model")
    assert general.config.hidden_size == 8
    plain, info = AutoModelForSequenceClassification.from_pretrained(
        job.result, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]  # no projection is left
    rows = [line.rsplit(",", 1) for line in Path(test).read_text().splitlines()[1:]]
    encoded = tokenizer([text for text, _ in rows], padding=True, return_tensors="pt")
    with torch.no_grad():
        found = plain.eval()(**encoded).logits.argmax(-1)
    names = [plain.config.id2label[int(i)] for i in found]
    right = sum(name == label for name, (_, label) in zip(names, rows, strict=True)) / len(rows)
    assert metrics["student"]["accuracy"] == pytest.approx(right)


@pytest.mark.parametrize("projections", ["layer", "shared"])
def test_depths_that_do_not_divide_and_either_kind_of_projection(
    tmp_path: Path, tokenizer: BertTokenizerFast, projections: str
) -> None:
    teacher = saved(tmp_path / "teacher", tokenizer, num_hidden_layers=3)
    recipe = shrunk(teacher, layers=2, hidden_size=8)
    recipe = recipe.model_copy(update={"projections": projections})
    job = Job(
        recipe=recipe,
        out=tmp_path / "run",
        teacher=teacher,
        corpus=corpus_file(tmp_path / "corpus.txt"),
    )
    run(job)
    assert AutoModel.from_pretrained(job.result).config.num_hidden_layers == 2


def test_the_task_stages_read_variants_of_their_texts(
    news: list[str], tmp_path: Path, tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    teacher = saved(tmp_path / "teacher", tokenizer, "classification")
    words = saved(tmp_path / "words", tokenizer)
    train, more = task_file(tmp_path / "t.csv"), task_file(tmp_path / "u.csv", 9, 2, labelled=False)
    recipe = with_settings(shrunk(teacher, layers=1, hidden_size=8), {"augment.copies": "3"})
    files = Files(train=train, valid=task_file(tmp_path / "v.csv", 12, 1), unlabelled=more)
    job = Job(recipe=recipe, out=tmp_path / "run", teacher=teacher, files=files, mlm=words)
    run(job)
    (made,) = (tmp_path / "run").glob("augmented-*.parquet")
    rows = 60 + len(read_parquet(made))  # the file has no copy of the rows themselves
    assert 60 < rows <= 240
    assert f"augmentation: 60 rows became {rows}" in news
    told = f"{rows + 9:,} rows to learn from (9 unlabelled, {rows - 60:,} augmented), "
    assert any(line.startswith(told) for line in news)


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_of_task_goes_the_whole_way_with_variants(
    tmp_path: Path, tokenizer: BertTokenizerFast, kind: str
) -> None:
    make, name, _ = KINDS[kind]
    train = make(tmp_path / name)
    short = {"stages.linear": "null", "stages.task.steps": "2", "stages.task.max_length": "32"}
    tuning = with_settings(finetune(BertConfig()), short)
    start = saved(tmp_path / "start", tokenizer)
    run(
        Job(
            recipe=tuning,
            out=tmp_path / "teacher",
            student=start,
            files=Files(train=train, valid=train, evaluation=train),
            model_at=".",
        )
    )
    teacher = str(tmp_path / "teacher")
    recipe = with_settings(shrunk(teacher, layers=1, hidden_size=8), {"augment.copies": "2"})
    job = Job(
        recipe=recipe,
        out=tmp_path / "run",
        teacher=teacher,
        files=Files(train=train, valid=train, evaluation=train),
        mlm=start,
    )
    metrics = run(job)
    assert metrics["student"]


def test_without_a_masked_word_model_variants_come_from_the_teachers_own_vectors(
    news: list[str], tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    teacher = saved(tmp_path / "teacher", tokenizer, "classification")
    recipe = shrunk(teacher, layers=1, hidden_size=8)
    files = Files(
        train=task_file(tmp_path / "train.csv"), valid=task_file(tmp_path / "v.csv", 12, 1)
    )
    run(Job(recipe=recipe, out=tmp_path / "run", teacher=teacher, files=files))
    assert any(f"nearest ones in the embeddings of {teacher}" in line for line in news)
    assert any("augmentation: 60 rows became" in line for line in news)
    few = with_settings(recipe, {"augment.most": "119"})
    run(Job(recipe=few, out=tmp_path / "few", teacher=teacher, files=files))
    assert any("60 rows and a variant of each are more than 119" in line for line in news)
    with pytest.raises(UserError, match="--mlm augments texts and recipe 'distilbert' does not"):
        Job(
            recipe=recipe_of("distilbert", BertConfig()),
            out=tmp_path / "x",
            teacher=teacher,
            mlm="words",
        )


def ran_with_variants(tmp_path: Path, tokenizer: BertTokenizerFast) -> tuple[Job, Path]:
    """A run that will be judged anew, and the file of its variants."""
    teacher = saved(tmp_path / "teacher", tokenizer, "classification")
    words = saved(tmp_path / "words", tokenizer)
    files = Files(train=task_file(tmp_path / "t.csv"), valid=task_file(tmp_path / "v.csv", 12, 1))
    recipe = with_settings(shrunk(teacher, layers=1, hidden_size=8), {"augment.copies": "2"})
    job = Job(recipe=recipe, out=tmp_path / "run", teacher=teacher, files=files, mlm=words)
    run(job)
    (tmp_path / "run" / "metrics.json").unlink()
    (made,) = (tmp_path / "run").glob("augmented-*.parquet")
    return job, made


def test_variants_are_made_anew_when_the_file_has_changed(
    news: list[str], tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    """A run that an earlier version began has no digest of its rows, and goes on with others."""
    job, first = ran_with_variants(tmp_path, tokenizer)
    files = Files(train=task_file(tmp_path / "t.csv", 30, 5), valid=job.files and job.files.valid)
    changed = replace(job, files=files)
    with pytest.raises(UserError, match=r"t\.csv: its rows are not those that the run in"):
        run(changed)
    environment = tmp_path / "run" / "environment.json"
    before = json.loads(environment.read_text())
    environment.write_text(json.dumps({k: v for k, v in before.items() if k != "digests"}))
    (tmp_path / "run" / "checksums.json").unlink()
    news.clear()
    run(changed)
    (second,) = (tmp_path / "run").glob("augmented-*.parquet")
    assert second != first
    assert any(line.startswith("augmentation: 30 rows") for line in news)


def test_damaged_variants_are_said_and_made_anew(
    news: list[str], tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    job, made = ran_with_variants(tmp_path, tokenizer)
    whole = made.read_bytes()
    made.write_bytes(whole[: len(whole) // 2])
    news.clear()
    run(job)
    assert any(line.startswith(f"{made}: is damaged: it is made again") for line in news)
    assert made.read_bytes() == whole


def test_a_masked_word_model_that_is_not_there_leaves_the_folder_to_the_next_command(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    teacher = saved(tmp_path / "teacher", tokenizer, "classification")
    files = Files(train=task_file(tmp_path / "t.csv"), valid=task_file(tmp_path / "v.csv", 12, 1))
    recipe = shrunk(teacher, layers=1, hidden_size=8)
    with pytest.raises(UserError, match="has no masked-word head"):
        run(Job(recipe=recipe, out=tmp_path / "run", teacher=teacher, files=files, mlm=teacher))
    assert not (tmp_path / "run").exists()


def test_what_a_later_stage_cannot_do_is_refused_before_the_first(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    teacher = saved(tmp_path / "teacher", tokenizer, "classification", num_attention_heads=2)
    general = saved(tmp_path / "general", tokenizer)
    job = Job(
        recipe=shrunk(general, layers=1, hidden_size=8),
        out=tmp_path / "run",
        teacher=teacher,
        general_teacher=general,
        corpus=corpus_file(tmp_path / "corpus.txt"),
        files=Files(train=task_file(tmp_path / "t.csv")),
    )
    with pytest.raises(UserError, match="4 attention heads of the student with 2"):
        run(job)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("kind", "more", "said"),
    [
        ("mobilebert", {}, "layers of 'mobilebert' cannot be copied"),
        ("ernie", {}, "layers of 'ernie' cannot be copied"),
        ("bert", {"intermediate_size": 8}, "inner size is 16 and its teacher's 8"),
        ("bert", {"max_position_embeddings": 32}, "positions is 64 and its teacher's 32"),
    ],
)
def test_teachers_that_a_narrow_student_cannot_start_from_are_refused(
    kind: str, more: dict[str, int], said: str
) -> None:
    teacher = tiny(kind, "encoder", **more)
    config = {
        "model_type": "bert", "vocab_size": 99, "hidden_size": 8, "num_attention_heads": 4,
        "num_hidden_layers": 1, "intermediate_size": 16, "max_position_embeddings": 64,
    }  # fmt: skip
    with pytest.raises(UserError, match=said):
        from_teacher(config, "encoder", (), teacher, "last", 0, words())


def test_the_default_width_divides_among_the_teachers_heads() -> None:
    large = BertConfig(hidden_size=1024, num_attention_heads=16, num_hidden_layers=24)
    assert recipe_of("tinybert", large).student["hidden_size"] == 304


def test_a_student_that_is_named_has_its_own_shape_and_the_recipes_dropout(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    teacher = saved(tmp_path / "teacher", tokenizer, "classification", num_hidden_layers=3)
    start = saved(tmp_path / "start", tokenizer, num_hidden_layers=2, hidden_size=8)
    config = load_config(teacher)
    recipe = choose_recipe("tinybert", config, start)
    shape = (recipe.student["num_hidden_layers"], recipe.student["hidden_size"])
    assert shape == (2, 8)
    with pytest.raises(UserError, match=r"--hidden-size 12: the student .* has 8"):
        choose_recipe("tinybert", config, start, None, 12)
    files = Files(train=task_file(tmp_path / "t.csv"), valid=task_file(tmp_path / "v.csv", 12, 1))
    job = Job(
        recipe=with_settings(recipe, SHORT),
        out=tmp_path / "run",
        teacher=teacher,
        student=start,
        files=files,
    )
    run(job)
    made = load_config(str(job.result))
    assert (made.hidden_size, made.hidden_dropout_prob) == (8, 0.0)


def test_the_embedding_has_no_attention_to_compare() -> None:
    with pytest.raises(UserError, match="layer 0 is the embedding"):
        AttentionMSE(layers=((0, 0),)).pairs(2, 2)


@pytest.mark.parametrize(("name", "kind"), [("tinybert", "distilbert"), ("mobilebert", "bert")])
def test_a_student_of_another_family_can_be_named(
    tmp_path: Path, tokenizer: BertTokenizerFast, name: str, kind: str
) -> None:
    teacher = saved(tmp_path / "teacher", tokenizer, "classification")
    start = saved(tmp_path / "start", tokenizer, "words", kind, num_hidden_layers=1, hidden_size=8)
    recipe = choose_recipe(name, load_config(teacher), start)
    recipe = with_settings(recipe, {"stages.*.steps": "2", "stages.*.max_length": "32"})
    files = Files(train=task_file(tmp_path / "t.csv"), valid=task_file(tmp_path / "v.csv", 12, 1))
    job = Job(recipe=recipe, out=tmp_path / "run", teacher=teacher, student=start, files=files)
    run(job)
    assert load_config(str(job.result)).model_type == kind
