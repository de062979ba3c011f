"""MobileBERT: its terms, its teacher IB-BERT, its recipes, its stages from start to end."""

import json
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from support.models import tiny, words
from support.runs import corpus_file, saved, shrunk, task_file
from torch import Tensor
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    BertTokenizerFast,
    MobileBertConfig,
    MobileBertForMaskedLM,
    MobileBertForSequenceClassification,
    MobileBertModel,
    PreTrainedModel,
)

from alembert.data.splits import Files
from alembert.initialization.student import from_teacher
from alembert.io.errors import UserError
from alembert.models.building import config_of
from alembert.models.ibbert import IBBertConfig, IBBertForMaskedLM, IBBertModel
from alembert.models.loading import load_config, load_model
from alembert.models.trace import Reads, no_grad_trace
from alembert.objectives import attention_kl as divergence
from alembert.objectives import functional
from alembert.objectives.attention_kl import attention_kl
from alembert.objectives.layer_terms import AttentionKL, FeatureMap
from alembert.recipes import recipe_of
from alembert.recipes.finetune import finetune
from alembert.recipes.overrides import with_settings
from alembert.recipes.schema import with_run
from alembert.runs.job import Job
from alembert.runs.run import run
from alembert.runs.stages import prepare as beginning
from alembert.training.distillation import Distillation

GOLDEN = Path(__file__).parents[1] / "golden" / "mobilebert.json"
FAMILY = ("mobilebert", "mobilebert-tiny", "mobilebert-joint", "mobilebert-auxiliary")
SMALL = {"vocab_size": 99, "hidden_size": 16, "intra_bottleneck_size": 24, "intermediate_size": 48,
         "embedding_size": 8, "num_hidden_layers": 3, "num_attention_heads": 4,
         "max_position_embeddings": 64}  # fmt: skip


def inverted(kind: type[PreTrainedModel] = IBBertForMaskedLM, **more: object) -> PreTrainedModel:
    torch.manual_seed(0)
    model = kind(IBBertConfig(**(SMALL | more)))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def test_transfer_losses_are_those_of_the_paper() -> None:
    content = json.loads(GOLDEN.read_text())
    given = {k: torch.tensor(v) for k, v in content["inputs"].items()}
    found = functional.feature_map(given["student_hidden"], given["teacher_hidden"])
    assert float(found) == pytest.approx(content["expected"]["feature_map"], rel=1e-5)
    keys = given["attention_mask"].bool()[:, None, None, :]  # there, padded queries count too
    scores = [torch.where(keys, given[f"{who}_scores"], -1e9) for who in ("student", "teacher")]
    found = attention_kl(*(scored(each) for each in scores))
    assert float(found) == pytest.approx(content["expected"]["attention_kl"], rel=1e-5)


def scored(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Queries and keys that have these scores."""
    return scores, torch.eye(scores.shape[-1]).expand_as(scores)


def test_padding_never_counts_in_a_transfer() -> None:
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    student, teacher = torch.randn(2, 2, 3, 3), torch.randn(2, 2, 3, 3)
    here = attention_kl(scored(student[:1]), scored(teacher[:1]))  # no padding: three queries
    # of one key alone both are certain: no gap for the one real query of the second text
    found = attention_kl(scored(student), scored(teacher), mask)
    torch.testing.assert_close(found, here * 3 / 4)


def test_attention_that_is_compared_in_blocks_has_the_gradient_of_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    queries, keys = (torch.randn(2, 3, 4, 5, requires_grad=True) for _ in range(2))
    theirs = torch.randn(2, 3, 4, 7), torch.randn(2, 3, 4, 7)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    lost = ~mask.bool()[:, None, None]
    s, t = ((q @ k.mT).masked_fill(lost, -1e30) for q, k in ((queries, keys), theirs))
    gap = F.kl_div(s.log_softmax(-1), t.log_softmax(-1), reduction="none", log_target=True)
    wanted = (gap.sum(-1).mean(1) * mask).sum() / mask.sum()
    grads = torch.autograd.grad(wanted, (queries, keys))
    monkeypatch.setattr(divergence, "BLOCK", 32)  # two heads of 4 x 4
    found = attention_kl((queries, keys), theirs, mask)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(found, (queries, keys)), grads)


def test_a_student_with_the_teachers_own_weights_has_no_transfer_loss_at_any_layer() -> None:
    teacher, student = tiny("mobilebert", layers=3), tiny("mobilebert", layers=3)
    batch = {k: v for k, v in words().items() if k != "labels"}
    for k in (1, 2, 3):
        pair = ((k, k),)
        objective = (FeatureMap(layers=pair), AttentionKL(layers=pair))
        module = Distillation(student, teacher, objective, words=True).eval()
        assert module(batch)[0].item() == pytest.approx(0.0, abs=1e-6)
        moved = tiny("mobilebert", layers=3, seed=1)
        assert Distillation(moved, teacher, objective, words=True)(batch)[0].item() > 0.01


def test_the_papers_models_have_the_papers_sizes() -> None:
    with torch.device("meta"):
        teacher = IBBertModel(IBBertConfig(), add_pooling_layer=False)
        student = recipe_of("mobilebert", IBBertConfig()).student
        mine = MobileBertModel(config_of(student), add_pooling_layer=False)
        paper = MobileBertModel(MobileBertConfig(), add_pooling_layer=False)
    assert sum(p.numel() for p in teacher.parameters()) == pytest.approx(293e6, rel=0.01)
    shapes = [{n: p.shape for n, p in model.named_parameters()} for model in (mine, paper)]
    assert shapes[0] == shapes[1]
    assert (
        sum(s.name.startswith("transfer") for s in recipe_of("mobilebert", IBBertConfig()).stages)
        == 24
    )


@pytest.mark.parametrize(
    ("width", "heads", "shape"),
    [  # inside, neurons, networks
        (512, 4, (128, 512, 4)),  # the paper's
        (384, 12, (144, 576, 1)),  # a quarter would be heads of 8
        (768, 12, (144, 576, 3)),
        (312, 12, (108, 432, 1)),  # 12 a head would be half as large again
        (1024, 16, (192, 768, 1)),
        (64, 4, (24, 96, 1)),
    ],
)
def test_thin_heads_are_widened_and_the_layer_keeps_its_parameters(
    width: int, heads: int, shape: tuple[int, int, int]
) -> None:
    teacher = BertConfig(hidden_size=width, num_attention_heads=heads, num_hidden_layers=2)
    student = recipe_of("mobilebert", teacher).student
    names = ("intra_bottleneck_size", "intermediate_size", "num_feedforward_networks")
    assert tuple(student[name] for name in names) == shape
    quarter = heads * round(student["hidden_size"] / 4 / heads)
    paper = {names[0]: quarter, names[1]: 4 * quarter, names[2]: 4}
    with torch.device("meta"):
        layers = [
            MobileBertModel(config_of(fields)).encoder for fields in (student, student | paper)
        ]
    mine, papers = (sum(p.numel() for p in layer.parameters()) for layer in layers)
    assert 0.9 * papers < mine <= 1.01 * papers


@pytest.mark.parametrize(
    "auto",
    [AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoModelForTokenClassification],
)
def test_an_ibbert_comes_back_from_disk_as_it_went(tmp_path: Path, auto: type) -> None:
    torch.manual_seed(0)
    model = auto.from_config(IBBertConfig(**SMALL)).eval()  # type: ignore[attr-defined]
    model.save_pretrained(tmp_path)
    back, info = auto.from_pretrained(tmp_path, output_loading_info=True)  # type: ignore[attr-defined]
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    ids = torch.randint(5, 99, (2, 6))
    with torch.no_grad():
        assert torch.equal(model(ids).logits, back.eval()(ids).logits)


def test_an_ibbert_widens_its_stream_inside_a_layer() -> None:
    part = inverted().mobilebert.encoder.layer[0].attention.self
    assert part.query.weight.shape == part.key.weight.shape == (24, 16)
    assert part.value.weight.shape == (24, 16)


def test_embeddings_of_an_ibbert_are_copied() -> None:
    teacher = inverted()
    student = from_teacher(
        recipe_of("mobilebert", teacher.config).student, "encoder", (), teacher, "uniform", 0,
        words(),
    )  # fmt: skip
    mine, theirs = (m.base_model.embeddings.state_dict() for m in (student, teacher))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_embeddings_of_a_bert_are_fitted() -> None:
    teacher = tiny("bert", "encoder", hidden_size=16)
    sample = {k: v for k, v in words(40, 9).items() if k != "labels"}
    fields = recipe_of("mobilebert", teacher.config).student
    fields |= {"intra_bottleneck_size": 4, "intermediate_size": 16, "num_feedforward_networks": 4}
    student = from_teacher(fields, "encoder", (), teacher, "uniform", 0, sample).eval()
    drawn = MobileBertModel(student.config).eval()
    states = [
        no_grad_trace(m, sample, Reads(hidden=frozenset({0}))).hidden[0]
        for m in (student, drawn, teacher)
    ]
    gaps = [
        functional.feature_map(x, states[2], sample["attention_mask"]).item() for x in states[:2]
    ]
    assert gaps[0] < 0.2 * gaps[1]


def test_a_narrower_student_keeps_the_words_of_an_ibbert_and_reads_them_alike() -> None:
    teacher = inverted()
    torch.nn.init.ones_(teacher.base_model.embeddings.LayerNorm.weight)
    sample = {k: v for k, v in words(40, 9).items() if k != "labels"}
    fields = recipe_of("mobilebert", teacher.config, hidden_size=12).student
    student = from_teacher(fields, "encoder", (), teacher, "uniform", 0, sample).eval()
    mine, theirs = (m.base_model.embeddings.word_embeddings.weight for m in (student, teacher))
    assert torch.equal(mine, theirs)
    read, real = Reads(hidden=frozenset({0})), sample["attention_mask"].bool()
    models = (student, MobileBertModel(student.config).eval(), teacher)
    angles = [torch.corrcoef(no_grad_trace(m, sample, read).hidden[0][real]) for m in models]
    alike = [float(torch.corrcoef(torch.stack([x.flatten(), angles[2].flatten()]))[0, 1])
             for x in angles[:2]]  # fmt: skip
    assert alike[0] > 0.9 > alike[1]
    narrow = fields | {"embedding_size": 4}
    with pytest.raises(UserError, match="its embedding size is 4 and the teacher's"):
        from_teacher(narrow, "encoder", (), teacher, "uniform", 0, sample)


def test_positions_of_a_roberta_begin_where_its_texts_do() -> None:
    teacher = tiny("roberta", "encoder", hidden_size=16)
    fields = recipe_of("mobilebert", teacher.config).student
    student = from_teacher(fields, "encoder", (), teacher, "uniform", 0, words())
    mine, theirs = (m.base_model.embeddings.position_embeddings.weight for m in (student, teacher))
    assert torch.equal(mine, theirs[2:])  # the first two stand for no token


def test_a_stage_of_progressive_transfer_runs_no_later_layer() -> None:
    teacher = tiny("bert", "encoder", layers=4)
    recipe = recipe_of("mobilebert", teacher.config)
    fields = recipe.student | {"hidden_size": 16}
    student = from_teacher(fields, "encoder", (), teacher, "uniform", 0, words())
    batch = {k: v for k, v in words().items() if k != "labels"}
    for k, stage in enumerate(recipe.stages[:4], start=1):
        ran: list[tuple[str, int]] = []
        handles = [
            layer.register_forward_hook(lambda *_, ran=ran, n=n, who=who: ran.append((who, n)))
            for who, model in (("student", student), ("teacher", teacher))
            for n, layer in enumerate(model.base_model.encoder.layer, start=1)
        ]
        Distillation(student, teacher, stage.objective, words=True)(batch)
        for handle in handles:
            handle.remove()
        whole = {(who, n) for who in ("student", "teacher") for n in range(1, k)}
        assert whole <= set(ran) <= whole | {("student", k), ("teacher", k)}


def test_progressive_transfer_moves_its_layer_most_earlier_ones_little_later_ones_not() -> None:
    stage = recipe_of("mobilebert", IBBertConfig()).stages[2]

    def factor(name: str) -> float:
        return next(f for pattern, f in stage.rates if re.search(pattern, name))

    layer = "student.encoder.layer.{}.attention.self.query.weight"
    found = [factor(layer.format(i)) for i in (0, 1, 2, 3, 12, 20)]
    assert found == [0.1, 0.1, 1.0, 0.0, 0.0, 0.0]
    assert factor("student.embeddings.word_embeddings.weight") == 0.0


@pytest.mark.parametrize(
    "name", [FAMILY[0], *(pytest.param(name, marks=pytest.mark.slow) for name in FAMILY[1:])]
)
def test_the_whole_way_from_a_bert(tmp_path: Path, tokenizer: BertTokenizerFast, name: str) -> None:
    teacher = saved(tmp_path / "teacher", tokenizer, "classification")
    general = saved(tmp_path / "general", tokenizer)
    test = task_file(tmp_path / "test.csv", 12, 1)
    job = Job(
        recipe=shrunk(recipe_of(name, load_config(teacher))),
        out=tmp_path / "run",
        teacher=teacher,
        general_teacher=general,
        corpus=corpus_file(tmp_path / "corpus.txt"),
        files=Files(train=task_file(tmp_path / "train.csv"), valid=None, evaluation=test),
    )
    metrics = run(job)
    assert 0 <= metrics["student"]["accuracy"] <= 1
    plain, info = MobileBertForSequenceClassification.from_pretrained(
        job.result, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert plain.config.num_labels == 3


def test_an_ibbert_is_made_from_a_bert_and_teaches(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    bert, corpus = saved(tmp_path / "bert", tokenizer), corpus_file(tmp_path / "corpus.txt")
    recipe = shrunk(recipe_of("ibbert", load_config(bert), hidden_size=8))
    first = Job(recipe=recipe, out=tmp_path / "ib", teacher=bert, corpus=corpus)
    run(first)
    teacher = str(first.result)
    assert isinstance(load_model(teacher, "words"), IBBertForMaskedLM)
    recipe = shrunk(recipe_of("mobilebert", load_config(teacher)))
    second = Job(recipe=recipe, out=tmp_path / "mobile", teacher=teacher, corpus=corpus)
    run(second)
    assert isinstance(load_model(str(second.result), "words"), MobileBertForMaskedLM)


@pytest.mark.parametrize("name", FAMILY)
def test_a_student_is_as_wide_as_its_ibberts_words_at_least(name: str) -> None:
    with pytest.raises(UserError, match=r"--hidden-size 7: .* has 8 \(its embedding size\) to 16"):
        recipe_of(name, IBBertConfig(**SMALL), hidden_size=7)
    assert recipe_of(name, IBBertConfig(**SMALL), hidden_size=8).student["embedding_size"] == 8


def test_an_ibbert_is_trained_from_scratch_on_a_corpus(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    shape, corpus = tmp_path / "shape", corpus_file(tmp_path / "corpus.txt")
    words = len(tokenizer)
    IBBertConfig(**(SMALL | {"vocab_size": words, "dtype": "bfloat16"})).save_pretrained(shape)
    tokenizer.save_pretrained(shape)  # a config and a tokenizer, no weights
    changes = {"stages.general.steps": "2", "init.start": "scratch"}
    recipe = with_settings(shrunk(finetune(load_config(str(shape)))), changes)
    jobs = [
        Job(
            recipe=with_run(recipe, seed=seed),
            out=tmp_path / f"{seed}",
            student=str(shape),
            corpus=corpus,
            model_at=".",
        )
        for seed in range(2)
    ]
    for job in jobs:
        run(job)
    drawn, other = (load_model(str(job.result), "words") for job in jobs)
    assert isinstance(drawn, IBBertForMaskedLM)
    mine, others = (m.get_input_embeddings().weight for m in (drawn, other))
    assert mine.dtype == torch.float32
    assert not torch.allclose(mine, others, atol=0.01)


@pytest.mark.parametrize(
    ("settings", "times"),
    [
        ({}, 1),
        ({"init.start": "scratch"}, 0),
        ({"stages.pretraining.objective.SoftLabels": "null"}, 0),
    ],
)
def test_a_new_head_of_masked_words_is_fitted_once(
    tmp_path: Path, tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str], times: int,
) -> None:  # fmt: skip
    fitted = []
    monkeypatch.setattr(beginning, "fit_mlm_head", lambda *given: fitted.append(given))
    teacher, corpus = saved(tmp_path / "bert", tokenizer), corpus_file(tmp_path / "corpus.txt")
    recipe = with_settings(shrunk(recipe_of("mobilebert", load_config(teacher))), settings)
    first = Job(recipe=recipe, out=tmp_path / "first", teacher=teacher, corpus=corpus)
    run(first)
    assert len(fitted) == times
    more = recipe.model_copy(update={"stages": recipe.stages[-3:-2]})  # pre-training again
    student = str(first.result)
    run(Job(recipe=more, out=tmp_path / "more", teacher=teacher, student=student, corpus=corpus))
    assert len(fitted) == times
    hidden = [batch["input_ids"] == tokenizer.mask_token_id for _, _, batch in fitted]
    assert all(mask.any() for mask in hidden)


def test_every_recipe_of_the_family_fits_bert_base() -> None:
    for name in (*FAMILY, "ibbert"):
        recipe = recipe_of(name, BertConfig())
        config_of(recipe.student)
        assert recipe.student["num_hidden_layers"] == 12
