"""A vocabulary cut to some texts reads these as before, and the model says the same of them."""

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import VOCABULARY
from houses import corpus_file, saved, task_file
from hypothesis import given, settings
from hypothesis import strategies as st
from models import tiny
from news import logged
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertTokenizerFast
from transformers import PreTrainedTokenizerFast as Wrapped

from alembert.data.splits import Files
from alembert.io.errors import UserError
from alembert.models import tokenizer_pruning
from alembert.models.loading import load_config, load_model, load_tokenizer
from alembert.recipes import recipe_of
from alembert.recipes.schema import with_settings
from alembert.runs.checks import check_teacher
from alembert.runs.evaluate import evaluate
from alembert.runs.job import Job
from alembert.runs.run import run
from alembert.runs.trim import required_ids, trim_model, with_rows

KINDS = ("WordPiece", "BPE", "Unigram")
SPECIAL = {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}
NAMES = {f"{name}_token": token for name, token in SPECIAL.items()}
SPOKEN = [
    "abba cab",
    "a bad cabbage",
    "dab dab dabba",
    "acacia caca",
    "dead bead",
    "baba abaca",
] * 3
LETTERS = st.lists(st.text("abcdeg", min_size=1, max_size=7), min_size=1, max_size=5).map(" ".join)


@cache
def learnt(kind: str) -> Tokenizer:
    """A tokenizer of each kind whose pieces overlap in many ways; it has never seen a g."""
    tokens = list(SPECIAL.values())
    if kind == "WordPiece":
        made = Tokenizer(models.WordPiece(unk_token="<unk>"))
        made.pre_tokenizer = pre_tokenizers.Whitespace()
        trainer: Any = trainers.WordPieceTrainer(vocab_size=60, special_tokens=tokens)
    elif kind == "BPE":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=300, special_tokens=tokens, initial_alphabet=alphabet, show_progress=False
        )
    else:
        made = Tokenizer(models.Unigram())
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=40, special_tokens=tokens, unk_token="<unk>", show_progress=False
        )
    made.train_from_iterator(SPOKEN, trainer)
    return made


def ids_of(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text).ids)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None)
@given(seen=st.lists(LETTERS, min_size=1, max_size=4), other=LETTERS)
def test_a_text_of_kept_pieces_is_read_as_before_and_no_other_breaks(
    kind: str, seen: list[str], other: str
) -> None:
    before = learnt(kind)
    state = json.loads(before.to_str())
    counts = [0] * before.get_vocab_size()
    for text in seen:
        for number in ids_of(before, text):
            counts[number] += 1
    kept = tokenizer_pruning.chosen(state, tokenizer_pruning.needed(state), None, 1.0, counts)
    assert {number for number, count in enumerate(counts) if count} <= set(kept)
    after = Tokenizer.from_str(json.dumps(tokenizer_pruning.trimmed(state, kept)))
    assert after.get_vocab_size() == len(kept)
    new, unknown = {old: k for k, old in enumerate(kept)}, before.token_to_id("<unk>")
    for text in (*seen, other):
        ids, found = ids_of(before, text), ids_of(after, text)
        if unknown not in ids and set(ids) <= set(kept):
            assert found == [new[number] for number in ids]
            assert after.encode(text).tokens == before.encode(text).tokens
        if kind == "BPE":
            assert after.decode(found) == text
        elif unknown not in ids:  # a smaller piece for each letter that is known
            assert after.token_to_id("<unk>") not in found


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_go_in_the_order_of_their_counts(kind: str) -> None:
    state = json.loads(learnt(kind).to_str())
    stay, size = tokenizer_pruning.needed(state), learnt(kind).get_vocab_size()
    rest = [number for number in range(size) if number not in stay]
    counts = [0] * size
    for rank, number in enumerate(rest):
        counts[number] = 1000 - rank
    room = len(stay) + 4
    kept = tokenizer_pruning.chosen(state, stay, room, 1.0, counts)
    assert len(kept) <= room
    assert rest[0] in kept
    half = tokenizer_pruning.chosen(state, stay, None, 0.5, counts)
    covered = sum(counts[number] for number in half)
    assert 0.5 * sum(counts) <= covered < 0.5 * sum(counts) + 2 * 1000
    with pytest.raises(UserError, match=r"^--keep 3: special tokens and single characters alone"):
        tokenizer_pruning.chosen(state, stay, 3, 1.0, counts)


def test_pieces_of_the_task_come_before_those_of_a_corpus_however_frequent() -> None:
    state = json.loads(learnt("WordPiece").to_str())
    stay = tokenizer_pruning.needed(state)
    own, other, rare = [n for n in range(learnt("WordPiece").get_vocab_size()) if n not in stay][:3]
    task, corpus = ([0] * learnt("WordPiece").get_vocab_size() for _ in range(2))
    task[own], corpus[own], corpus[other], corpus[rare] = 1, 1, 1000, 2
    kept = [tokenizer_pruning.chosen(state, stay, len(stay) + k, 1.0, task, corpus) for k in (1, 2)]
    assert set(kept[0]) - stay == {own}
    assert set(kept[1]) - stay == {own, other}


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


@pytest.mark.parametrize("kind", ["WordPiece", "BPE", "Unigram"])
def test_a_trimmed_folder_is_an_ordinary_one(kind: str, tmp_path: Path) -> None:
    tokenizer = Wrapped(tokenizer_object=learnt(kind), **NAMES)
    tokenizer.add_tokens(["gg"])  # beside the model's vocabulary
    model = tiny("bert", "words", vocab_size=len(tokenizer) + 3, pad_token_id=0)
    model.save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    texts = tmp_path / "texts.csv"
    texts.write_text("text\nabba gg\ncab\n")
    lines = trimmed_folder(str(tmp_path / "m"), tmp_path / "small", str(texts))
    assert lines == ["2 of 2 texts are read as before, the others in smaller pieces"]
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
    files, weights = Files(train, evaluation=test), []
    for name, student in (("same", own), ("differ", other)):
        job = Job(soft(teacher), tmp_path / name, teacher, student=student, files=files)
        metrics = run(job)
        assert metrics["teacher"] == evaluate(teacher, Files(test), 32)
        weights.append(load_file(tmp_path / name / "student" / "model.safetensors"))
    for name, tensor in weights[0].items():
        if "word_embeddings" not in name:
            torch.testing.assert_close(weights[1][name], tensor, atol=1e-5, rtol=0)


@pytest.mark.parametrize("recipe", ["distilbert", "tinybert"])
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
        with_settings(asked, short), tmp_path / "run", teacher, general_teacher=words,
        corpus=corpus_file(tmp_path / "corpus.txt"), files=Files(train, evaluation=test),
        vocabulary="task",
    )  # fmt: skip
    metrics = run(job)
    # the 5 special, the 79 letters, digits and marks, the 12 words of the files, and of variants
    kept = next(int(line.split()[1]) for line in news if line.startswith("vocabulary: "))
    assert kept == 5 + 79 + 12 if recipe == "distilbert" else 96 < kept < 99
    student = load_model(str(tmp_path / "run"), "classification")
    assert student.config.vocab_size == len(load_tokenizer(str(tmp_path / "run"))) == kept
    assert metrics["teacher"] == evaluate(teacher, Files(test), 32)
    assert math.isfinite(metrics["student"]["accuracy"])
    news.clear()
    run(job)
    assert news[-1].endswith("finished before; nothing to do")


def test_a_new_vocabulary_and_a_saved_student_are_not_put_together(tmp_path: Path) -> None:
    recipe = recipe_of("distilbert", tiny("bert").config)
    with pytest.raises(UserError, match=r"^--vocabulary makes a new student's .* leave one out"):
        Job(recipe, tmp_path, "teacher", student="student", vocabulary="task")
    with pytest.raises(UserError, match=r"^--vocabulary corpus: task, or leave it out"):
        Job(recipe, tmp_path, "teacher", vocabulary="corpus")


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
    with pytest.raises(UserError, match=said):
        check_teacher(asked.model_copy(update={"max_length": 32}), head, teacher, "student",
                          other)  # fmt: skip
