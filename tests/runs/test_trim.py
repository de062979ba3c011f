"""A vocabulary cut to some texts reads these as before, and the model says the same of them."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.learnt import KINDS, NAMES, learnt
from support.models import tiny
from support.news import logged
from support.runs import corpus_file, saved, task_file
from support.vocabulary import VOCABULARY
from tokenizers import Tokenizer, models
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertTokenizerFast
from transformers import PreTrainedTokenizerFast as Wrapped

from alembert.data.splits import Files
from alembert.io.errors import UserError
from alembert.models import tokenizer_pruning
from alembert.models.loading import load_config, load_model, load_tokenizer
from alembert.recipes import recipe_of
from alembert.recipes.overrides import with_settings
from alembert.recipes.schema import with_run
from alembert.runs.checks import check_teacher
from alembert.runs.evaluate import judge
from alembert.runs.job import Job
from alembert.runs.run import run
from alembert.runs.texts.encoded_task import EncodedTask
from alembert.runs.trim import required_ids, trim_model, with_rows
from alembert.training.teacher import Teacher


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    "kind", ["bert", "distilbert", "roberta", "electra", "mobilebert", "modernbert"]
)
def test_logits_over_the_words_are_the_rows_that_stay(kind: str, tied: bool) -> None:
    model = tiny(kind, "words", tie_word_embeddings=tied)
    kept = [*range(6), *range(7, 99, 3)]
    small = with_rows(model, kept)
    ids = torch.tensor([[2, 7, 40, 97, 3], [2, 10, 13, 3, 1]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])
    new = torch.tensor([[kept.index(number) for number in row] for row in ids.tolist()])
    with torch.no_grad():
        theirs = model(input_ids=ids, attention_mask=mask).logits[:, :, kept]
        mine = small(input_ids=new, attention_mask=mask).logits
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)
    assert small.config.vocab_size == len(kept)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())
    inputs, outputs = small.get_input_embeddings(), small.get_output_embeddings()
    if inputs.weight.shape == outputs.weight.shape:
        assert (inputs.weight.data_ptr() == outputs.weight.data_ptr()) == tied


def test_padding_of_a_roberta_keeps_its_id_from_which_positions_count() -> None:
    state = json.loads(learnt("BPE").to_str())
    config = tiny("roberta", pad_token_id=4, vocab_size=300).config
    assert set(range(5)) <= required_ids(state, config)


def trimmed_folder(source: str, out: Path, texts: str, **more: Any) -> list[str]:
    options: dict[str, Any] = {"corpus": None, "keep": None, "coverage": 1.0} | more
    with logged() as lines:
        trim_model(source, out, data=[texts], text=None, text_pair=None, **options)
    return lines


@pytest.mark.parametrize("kind", KINDS)
def test_a_trimmed_folder_is_an_ordinary_one(kind: str, tmp_path: Path) -> None:
    tokenizer = Wrapped(tokenizer_object=learnt(kind), **NAMES)
    tokenizer.add_tokens(["gg"])  # beside the model's vocabulary
    model = tiny("bert", "words", vocab_size=len(tokenizer) + 3, pad_token_id=0)
    model.save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    texts = tmp_path / "texts.csv"
    texts.write_text("text\nabba gg\ncab\n")
    lines = trimmed_folder(str(tmp_path / "m"), tmp_path / "small", str(texts))
    assert lines == ["2 of 2 texts are tokenised as before, the others into shorter tokens"]
    after = AutoTokenizer.from_pretrained(tmp_path / "small")
    small = AutoModelForMaskedLM.from_pretrained(tmp_path / "small").eval()
    assert len(after) == small.config.vocab_size < len(tokenizer)
    assert {name: getattr(after, name) for name in NAMES} == NAMES
    assert after.convert_ids_to_tokens(small.config.pad_token_id) == "<pad>"
    old, new = (each("abba gg", return_tensors="pt") for each in (tokenizer, after))
    tokens = tokenizer.convert_ids_to_tokens(old["input_ids"][0])
    assert after.convert_ids_to_tokens(new["input_ids"][0]) == tokens
    with torch.no_grad():
        theirs, mine = (m.base_model(**x)[0] for m, x in ((model, old), (small, new)))
    torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=0)


def test_what_cannot_be_trimmed_is_refused_and_leaves_nothing(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    source, texts = saved(tmp_path / "m", tokenizer), task_file(tmp_path / "t.csv")
    small, levels = tmp_path / "small", Tokenizer(models.WordLevel({"<unk>": 0}, "<unk>"))
    for options, said in (
        ({"keep": 40}, "--keep 40: special tokens"),
        ({"keep": 0}, "--keep 0: must be"),
        ({"keep": 90, "coverage": 0.9}, "--keep and --coverage both"),
        ({"coverage": 1.5}, "--coverage 1.5: a share"),
    ):
        with pytest.raises(UserError, match=said):
            trimmed_folder(source, small, texts, **options)
    with pytest.raises(UserError, match=r"m: its tokenizer is of the kind WordLevel, not Word"):
        tokenizer_pruning.state_of(Wrapped(tokenizer_object=levels), "m")
    assert not small.exists()
    trimmed_folder(source, small, texts)
    with pytest.raises(UserError, match=r"small: is there already"):
        trimmed_folder(source, small, texts)


def renumbered(source: Path, to: Path, like: BertTokenizerFast) -> str:
    """The same model with its words' ids in another order, [PAD] first."""
    order = [0, *reversed(range(1, len(VOCABULARY)))]
    model = load_model(str(source), "classification")
    table = model.get_input_embeddings().weight.data
    table.copy_(table[order].clone())
    model.save_pretrained(to)
    BertTokenizerFast(vocab={VOCABULARY[old]: k for k, old in enumerate(order)}).save_pretrained(to)
    return str(to)


def soft(teacher: str) -> Any:
    only = "[{kind: SoftLabels, temperature: 2.0}]"
    changes = {"stages.task.objective": only, "stages.task.steps": "4"}
    recipe = recipe_of("distilbert", load_config(teacher))
    return with_settings(recipe, changes | {"stages.task.max_length": "32"})


def test_a_student_of_other_word_ids_learns_the_same_soft_labels(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    teacher = saved(tmp_path / "teacher", tokenizer, "classification", layers=2)
    own = saved(tmp_path / "own", tokenizer, "classification", kind="distilbert", seed=1)
    other = renumbered(Path(own), tmp_path / "other", tokenizer)
    train, test = task_file(tmp_path / "train.csv"), task_file(tmp_path / "test.csv", seed=9)
    files, weights = Files(train=train, evaluation=test), []
    for name, student in (("same", own), ("differ", other)):
        job = Job(
            recipe=soft(teacher), out=tmp_path / name, teacher=teacher, student=student, files=files
        )
        metrics = run(job)
        assert metrics["teacher"] == judge(teacher, Files(train=test), 32).metrics
        weights.append(load_file(tmp_path / name / "student" / "model.safetensors"))
    for name, tensor in weights[0].items():
        if "word_embeddings" not in name:
            torch.testing.assert_close(weights[1][name], tensor, atol=1e-5, rtol=0)


@pytest.mark.parametrize("recipe", ["distilbert", pytest.param("tinybert", marks=pytest.mark.slow)])
def test_a_student_of_its_texts_own_vocabulary(
    news: list[str], recipe: str, tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    teacher = saved(tmp_path / "teacher", tokenizer, "classification", layers=2)
    words = saved(tmp_path / "words", tokenizer, layers=2)
    train, test = task_file(tmp_path / "train.csv"), task_file(tmp_path / "test.csv", seed=9)
    asked = recipe_of(recipe, load_config(teacher), layers=2)
    short = {f"stages.{stage.name}.steps": "2" for stage in asked.stages}
    short |= {f"stages.{stage.name}.max_length": "32" for stage in asked.stages}
    job = Job(
        recipe=with_run(with_settings(asked, short), vocabulary="task"),
        out=tmp_path / "run",
        teacher=teacher,
        general_teacher=words,
        corpus=corpus_file(tmp_path / "corpus.txt"),
        files=Files(train=train, evaluation=test),
    )
    metrics = run(job)
    # the 5 special, the 79 letters, digits and marks, the 12 words of the files, and of variants
    kept = next(int(line.split()[1]) for line in news if line.startswith("vocabulary: "))
    assert kept == 5 + 79 + 12 if recipe == "distilbert" else 96 < kept < 99
    student = load_model(str(tmp_path / "run"), "classification")
    assert student.config.vocab_size == len(load_tokenizer(str(tmp_path / "run"))) == kept
    full, trimmed = (
        json.loads((path / "tokenizer.json").read_text())
        for path in (tmp_path / "teacher", tmp_path / "run/vocabulary/teacher")
    )
    assert trimmed["truncation"] == full["truncation"]  # and not the run's length
    assert metrics["teacher"] == judge(teacher, Files(train=test), 32).metrics
    assert math.isfinite(metrics["student"]["accuracy"])
    news.clear()
    run(job)
    assert news[-1].endswith("finished before; nothing to do")


def test_a_new_vocabulary_and_a_saved_student_are_not_put_together(tmp_path: Path) -> None:
    recipe = recipe_of("distilbert", tiny("bert").config)
    trimmed = with_run(recipe, vocabulary="task")
    with pytest.raises(
        UserError, match=r"^--vocabulary trims the vocabulary of a new student.* leave one out"
    ):
        Job(recipe=trimmed, out=tmp_path, teacher="teacher", student="student")
    with pytest.raises(UserError, match=r"^--vocabulary corpus: task, or leave it out"):
        with_run(recipe, vocabulary="corpus")


@pytest.mark.parametrize(
    ("data", "head", "term"),
    [
        ("task", "classification", "HiddenCosine"),
        ("corpus", "words", "SoftLabels"),
        ("task", "tokens", "SoftLabels"),
    ],
)
def test_what_two_tokenizers_cannot_compare_is_refused_by_the_terms_name(
    data: str, head: str, term: str, tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    teacher = saved(tmp_path / "teacher", tokenizer, "words")
    stages = recipe_of("distilbert", load_config(teacher)).stages
    asked = next(each for each in stages if each.data == data)
    other = BertTokenizerFast(vocab={word: i for i, word in enumerate(reversed(VOCABULARY))})
    said = f"student and .*teacher have different vocabularies: {term} of stage '{asked.name}'"
    shorter = asked.model_copy(update={"max_length": 32})
    with pytest.raises(UserError, match=said):
        check_teacher(shorter, head, Teacher(teacher), "student", EncodedTask(other, None))
