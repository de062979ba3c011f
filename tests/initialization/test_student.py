"""Students started from their teacher's layers compute what those layers compute."""

from pathlib import Path

import pytest
import torch
from support.models import SMALL, still, tiny, words
from transformers import AutoModel, AutoModelForMaskedLM, PreTrainedModel

from alembert.initialization import embeddings
from alembert.initialization.student import from_scratch, from_teacher
from alembert.io.errors import UserError
from alembert.models.loading import has_head, load_model
from alembert.models.trace import Reads, no_grad_trace
from alembert.objectives import functional
from alembert.recipes.distilbert import student_config


def inputs() -> dict[str, torch.Tensor]:
    return {k: v for k, v in words().items() if k != "labels"}


def started(teacher: PreTrainedModel, layers: int, choice: object = "spread") -> PreTrainedModel:
    config = student_config(teacher.config, layers)
    return from_teacher(config, "words", (), teacher, choice, seed=0).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_a_student_with_every_layer_computes_what_its_teacher_computes(kind: str) -> None:
    teacher = tiny(kind, layers=3)
    student = started(teacher, 3)
    with torch.no_grad():
        torch.testing.assert_close(
            student(**inputs()).logits, teacher(**inputs()).logits, atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("roberta", {}),
        ("xlm-roberta", {}),
        ("camembert", {}),
        ("electra", {}),
        ("mpnet", {}),
        ("deberta-v2", {}),  # all but its relative positions
        ("deberta-v2", {"position_biased_input": True, "type_vocab_size": 2, "legacy": False}),
    ],
)
def test_so_does_that_of_other_architectures_but_for_their_epsilon(
    kind: str, more: dict[str, object]
) -> None:
    teacher = tiny(kind, layers=2, layer_norm_eps=1e-12, **more)
    teacher = still(teacher) if kind == "deberta-v2" else teacher
    student = started(teacher, 2)
    real = inputs()["attention_mask"].bool()  # RoBERTa's padding has a position of its own
    with torch.no_grad():
        mine, theirs = (model(**inputs()).logits[real] for model in (student, teacher))
    torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)


def test_that_of_an_albert_does_where_its_widening_changes_nothing() -> None:
    teacher = tiny("albert", "encoder", layers=2, layer_norm_eps=1e-12, embedding_size=16)
    torch.nn.init.eye_(teacher.encoder.embedding_hidden_mapping_in.weight)
    torch.nn.init.ones_(teacher.embeddings.LayerNorm.weight)
    config = student_config(teacher.config, 2)
    student = from_teacher(config, "encoder", (), teacher, "uniform", 0, inputs()).eval()
    real = inputs()["attention_mask"].bool()
    with torch.no_grad():
        mine, theirs = (m(**inputs()).last_hidden_state[real] for m in (student, teacher))
    torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("kind", "matrix"),
    [("albert", "encoder.embedding_hidden_mapping_in"), ("electra", "embeddings_project")],
)
def test_tables_that_a_matrix_widens_add_up_to_what_layers_read_but_for_its_length(
    kind: str, matrix: str
) -> None:
    teacher = tiny(kind, "encoder", embedding_size=8)
    with torch.no_grad():
        read = no_grad_trace(teacher, inputs(), Reads(hidden=frozenset({0}))).hidden[0]
        constant = teacher.get_submodule(matrix)(teacher.embeddings.LayerNorm.bias)
        words, positions, types = embeddings.tables(teacher)
        ids = inputs()["input_ids"]
        mine = words[ids] + positions[: ids.shape[1]] + types[0]
    alike = torch.cosine_similarity(mine, read - constant, dim=-1)
    torch.testing.assert_close(alike, torch.ones_like(alike))


@pytest.mark.parametrize("kind", ["albert", "electra"])
def test_embeddings_that_a_matrix_widens_are_fitted(kind: str) -> None:
    teacher = tiny(kind, "encoder", layers=1, embedding_size=8)
    sample = {k: v for k, v in words(40, 9).items() if k != "labels"}
    student = from_teacher(
        student_config(teacher.config, 1), "encoder", (), teacher, "uniform", 0, sample
    )
    drawn = from_scratch(student_config(teacher.config, 1), "encoder", (), 0)
    first, real = Reads(hidden=frozenset({0})), sample["attention_mask"].bool()
    states = [no_grad_trace(m, sample, first).hidden[0][real] for m in (student, drawn, teacher)]
    gaps = [functional.feature_map(x[None], states[2][None]).item() for x in states[:2]]
    assert gaps[0] < 0.2 * gaps[1]


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("modernbert", {"norm_eps": 1e-12}),
        ("deberta-v2", {"embedding_size": 8, "layer_norm_eps": 1e-12}),
    ],
)
def test_what_the_first_layer_reads_is_the_teachers(kind: str, more: dict[str, float]) -> None:
    teacher = tiny(kind, "encoder", **more)
    config = student_config(teacher.config, 2)
    student = from_teacher(config, "encoder", (), teacher, "uniform", 0)
    first, real = Reads(hidden=frozenset({0})), inputs()["attention_mask"].bool()
    mine, theirs = (no_grad_trace(m, inputs(), first).hidden[0][real] for m in (student, teacher))
    torch.testing.assert_close(mine, theirs)


def test_layers_of_another_build_are_drawn() -> None:
    teacher = tiny("modernbert", "encoder")
    config = student_config(teacher.config, 2)
    student = from_teacher(config, "encoder", (), teacher, "uniform", 0)
    drawn = from_scratch(config, "encoder", (), 0)
    layers = [m.base_model.transformer.state_dict() for m in (student, drawn)]
    assert all(torch.equal(layers[0][name], layers[1][name]) for name in layers[1])


def test_the_chosen_layers_are_the_ones_copied() -> None:
    teacher = tiny("bert", layers=6)
    student = started(teacher, 3)
    for k, source in enumerate((0, 3, 5)):
        mine = student.base_model.transformer.layer[k].ffn.lin1.weight
        assert torch.equal(mine, teacher.base_model.encoder.layer[source].intermediate.dense.weight)
    explicit = started(teacher, 2, ((1, 6), (2, 1)))
    mine = explicit.base_model.transformer.layer[0].attention.q_lin.weight
    assert torch.equal(mine, teacher.base_model.encoder.layer[5].attention.self.query.weight)


def test_the_saved_student_loads_with_nothing_missing(tmp_path: Path) -> None:
    student = started(tiny("bert", layers=4), 2)
    student.save_pretrained(tmp_path)
    for auto in (AutoModel, AutoModelForMaskedLM):
        model, info = auto.from_pretrained(tmp_path, output_loading_info=True)
        assert not info["missing_keys"], auto
    assert type(model).__name__ == "DistilBertForMaskedLM"
    assert has_head(str(tmp_path), "words")


def test_a_head_that_is_not_in_the_file_is_never_drawn_silently(tmp_path: Path) -> None:
    tiny("bert").base_model.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"alembert finetune .* --corpus FILE"):
        load_model(str(tmp_path), "words")
    with pytest.raises(UserError, match=r"alembert finetune .* --train FILE"):
        load_model(str(tmp_path), "classification")
    fresh = load_model(str(tmp_path), "classification", labels=("a", "b", "c"), fresh_head=True)
    assert fresh.config.id2label == {0: "a", 1: "b", 2: "c"}


@pytest.mark.parametrize(
    ("teacher", "says"),
    [
        (lambda: tiny("mobilebert"), "layers of 'mobilebert' cannot be copied"),
        (lambda: tiny("ernie"), "layers of 'ernie' cannot be copied .*init.start=scratch"),
    ],
)
def test_what_cannot_be_copied_is_refused(teacher, says) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=says):
        started(teacher(), 1)


@pytest.mark.parametrize("kind", ["albert", "modernbert", "mpnet"])
def test_a_student_of_another_build_than_a_berts_starts_from_scratch_alone(kind: str) -> None:
    config = SMALL | {"model_type": kind, "num_hidden_layers": 2, "pad_token_id": 0}
    with pytest.raises(UserError, match=f"layers of '{kind}' cannot be copied"):
        from_teacher(config, "words", (), tiny("bert"), "uniform", seed=0)


@pytest.mark.parametrize("pairs", [((0, 0), (1, 1)), ((1, 1),), ((1, 1), (2, 0)), ((2, 1), (1, 2))])
def test_a_start_that_leaves_a_layer_out_is_refused(pairs: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(UserError, match=r"each of the student's layers 1 to 2"):
        started(tiny("bert", layers=3), 2, pairs)


def test_a_roberta_student_takes_positions_where_its_own_begin() -> None:
    teacher = tiny("roberta")
    config = teacher.config.to_diff_dict() | {"model_type": "roberta"}
    student = from_teacher(config, "words", (), teacher, "uniform", seed=0).eval()
    real = inputs()["attention_mask"].bool()
    with torch.no_grad():
        mine, theirs = (model(**inputs()).logits[real] for model in (student, teacher))
    torch.testing.assert_close(mine, theirs)


def test_a_teacher_whose_head_is_not_its_embeddings_gives_both() -> None:
    teacher = tiny("bert", tie_word_embeddings=False)
    student = started(teacher, 2)
    with torch.no_grad():
        torch.testing.assert_close(
            student(**inputs()).logits, teacher(**inputs()).logits, atol=1e-4, rtol=1e-4
        )
    tied = student_config(teacher.config, 2) | {"tie_word_embeddings": True}
    with pytest.raises(UserError, match="tie_word_embeddings is True and the teacher's False"):
        from_teacher(tied, "words", (), teacher, "uniform", seed=0)
