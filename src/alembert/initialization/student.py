"""Makes a student: randomly drawn, or initialized from layers of its teacher."""

from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from alembert.initialization import embeddings
from alembert.initialization.bottleneck import init_bottleneck
from alembert.initialization.pca import init_by_pca, match_statistics
from alembert.io.errors import UserError
from alembert.models import architectures
from alembert.models.architectures import (
    anatomy,
    bottlenecked,
    inner_size,
    keeps_distances,
    known,
    layerless,
    layers,
    plain,
    sharpness,
    vocabulary_matrix,
)
from alembert.models.building import config_of, draw_model
from alembert.models.layer_map import Choice, Pairs, layer_map
from alembert.models.loading import label_fields
from alembert.models.trace import Batch, Reads, no_grad_trace


def from_scratch(
    config: dict[str, object], head: str, labels: Sequence[str], seed: int
) -> PreTrainedModel:
    """A randomly drawn student of this config and head."""
    return draw_model(config_of(config | label_fields(head, labels)), head, seed)


def from_teacher(
    config: dict[str, object],
    head: str,
    labels: Sequence[str],
    teacher: PreTrainedModel,
    choice: Choice,
    seed: int,
    sample: Batch | None = None,
    basis: str = "components",
) -> PreTrainedModel:
    """A student initialized from some of its teacher's layers (DistilBERT, section 3).

    Embeddings, the chosen layers and, where both have one, the MLM head are copied; a task head is
    drawn at random. The teacher's type 0 is added to the positions of a student without token
    types, so that a student with every layer copied computes the same function as its teacher. A
    student of smaller hidden size is initialized by PCA on a sample of text (pca.init_by_pca).
    Raises UserError when shapes or architectures forbid it.
    """
    student = from_scratch(config, head, labels, seed)
    pairs = start_map(choice, student.config, teacher.config)
    describe_start(student.config, teacher.config)
    narrower = student.config.hidden_size < teacher.config.hidden_size
    if bottlenecked(student.config) and sample is not None:
        _check_shapes(student, teacher, thin=True)
        init_bottleneck(student, teacher, pairs, sample)
    elif narrower and sample is not None:
        init_by_pca(student, teacher, pairs, sample, basis)
    else:
        _check_shapes(student, teacher)
        with torch.no_grad():
            _copy_embeddings(student, teacher, sample)
            _copy_layers(student, teacher, pairs)
            embeddings.copy_distances(student, teacher)
            if head == "words":
                _copy_words_head(student, teacher)
    return student


def start_map(choice: Choice, student: PreTrainedConfig, teacher: PreTrainedConfig) -> Pairs:
    """The teacher layer of each student layer. Raises UserError unless each has one, in order."""
    depth = architectures.depth(student)
    if layerless(student):
        return ()
    try:
        pairs = layer_map(choice, depth, architectures.depth(teacher))
    except UserError as error:
        raise UserError(f"init.layers: {error}") from error
    if [to for to, _ in pairs] != list(range(1, depth + 1)) or min(dict(pairs).values()) < 1:
        raise UserError(
            f"init.layers: name a teacher layer for each of the student's layers 1 to {depth}, in "
            "order, as (student, teacher) pairs"
        )
    return pairs


def describe_start(student: PreTrainedConfig, teacher: PreTrainedConfig) -> str:
    """The line that names the parts of the teacher that are not copied; "" when all are.

    A static student has no layers to copy, and starts from any encoder.

    Raises UserError when the architectures forbid copying.
    """
    kind, thin = teacher.model_type, bottlenecked(student)
    if layerless(student):
        return "start: the teacher's vectors of single tokens"
    kept = keeps_distances(student, teacher)
    if not thin and not plain(student) and not kept:
        kind = student.model_type
    elif known(teacher) and (thin or not bottlenecked(teacher)):
        parts = anatomy(teacher, "starting from the teacher")
        if not parts.copies and not bottlenecked(teacher):
            return f"start: the teacher's embeddings alone; layers of '{kind}' are built otherwise"
        lost = parts.relative and not kept
        return f"start: layers of '{kind}' without their relative positions" * lost
    raise UserError(
        f"layers of '{kind}' cannot be copied between architectures: set the recipe's init.start "
        "to 'scratch' (--set init.start=scratch), or give --student"
    )


def _check_shapes(student: PreTrainedModel, teacher: PreTrainedModel, thin: bool = False) -> None:
    student_config, teacher_config = student.config, teacher.config
    sizes = {"vocabulary": (student_config.vocab_size, teacher_config.vocab_size)}
    if thin and bottlenecked(teacher_config):
        sizes["embedding size"] = (student_config.embedding_size, teacher_config.embedding_size)
    if not thin:
        sizes["hidden size"] = (student_config.hidden_size, teacher_config.hidden_size)
        sizes["tie_word_embeddings"] = (
            student_config.tie_word_embeddings,
            teacher_config.tie_word_embeddings,
        )
    if not thin and anatomy(teacher_config, "copying layers").copies:
        sizes["inner size"] = (inner_size(student_config), inner_size(teacher_config))
        sizes["attention heads"] = (
            student_config.num_attention_heads,
            teacher_config.num_attention_heads,
        )
    for name, (have, want) in sizes.items():
        if have != want:
            raise UserError(
                f"the student cannot start from the teacher's layers: its {name} is {have} and the "
                f"teacher's {want}; make them equal or set init.start to 'scratch'"
            )


def _copy_layers(
    student: PreTrainedModel, teacher: PreTrainedModel, pairs: Sequence[tuple[int, int]]
) -> None:
    student_layers, teacher_layers = (layers(m, "copying layers") for m in (student, teacher))
    student_parts, teacher_parts = (
        anatomy(m.config, "copying layers").copies for m in (student, teacher)
    )
    for to, source in pairs if teacher_parts else ():
        for student_part, teacher_part in zip(student_parts, teacher_parts, strict=True):
            part = student_layers[to - 1].get_submodule(student_part)
            embeddings.copy_module(part, teacher_layers[source - 1].get_submodule(teacher_part))
        for parameter in student_layers[to - 1].get_submodule(student_parts[0]).parameters():
            parameter.mul_(sharpness(teacher.config))


def _copy_embeddings(
    student: PreTrainedModel, teacher: PreTrainedModel, sample: Batch | None
) -> None:
    embeddings.write(student, *embeddings.tables(teacher))
    student_norm = student.base_model.get_submodule("embeddings.LayerNorm")
    if (teacher_norm := embeddings.norm(teacher)) is not None:
        embeddings.copy_module(student_norm, teacher_norm)
    elif sample is not None:
        states = no_grad_trace(teacher, sample, Reads(hidden=frozenset({0}))).hidden[0]
        match_statistics(student, student_norm, 0, states[sample["attention_mask"].bool()], sample)


def _copy_words_head(student: PreTrainedModel, teacher: PreTrainedModel) -> None:
    if teacher.get_output_embeddings() is None:
        return
    student_parts, teacher_parts = (
        [m.get_submodule(name) for name in anatomy(m.config, "copying the head").transform]
        for m in (student, teacher)
    )
    decoder = student.get_output_embeddings()
    assert isinstance(decoder, nn.Linear)
    weight, bias = vocabulary_matrix(teacher)
    if weight.shape == decoder.weight.shape:  # ALBERT's head is as narrow as its embeddings
        decoder.weight.copy_(weight)
        for to, source in zip(student_parts, teacher_parts, strict=True):
            embeddings.copy_module(to, source)
    if bias is not None:
        decoder.bias.copy_(bias)
