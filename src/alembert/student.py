"""How a student starts: from scratch, from layers of its teacher, or from a checkpoint."""

from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedModel

from alembert import anatomy
from alembert.errors import UserError
from alembert.layermap import Choice, layer_map
from alembert.models.load import label_fields
from alembert.models.new import drawn
from alembert.narrowing import narrow
from alembert.thinning import thin
from alembert.trace import Batch


def from_scratch(
    config: dict[str, object], head: str, labels: Sequence[str], seed: int
) -> PreTrainedModel:
    """A randomly drawn student of this config and head."""
    return drawn(config | label_fields(head, labels), head, seed)


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
    """A student that starts as some of its teacher's layers (DistilBERT, section 3).

    Embeddings, the chosen layers and, where both have one, the masked-word head are copied; a task
    head is drawn anew. A student without token types takes the teacher's type 0 into its positions,
    so that with every layer copied it computes what its teacher computes. A narrower student starts
    as the teacher seen through fewer dimensions, found on a sample of text (narrowing.narrow).
    Raises UserError when shapes or architectures forbid it.
    """
    student = from_scratch(config, head, labels, seed)
    depth = anatomy.depth(student.config)
    pairs = layer_map(choice, depth, anatomy.depth(teacher.config))
    taken = [to for to, source in pairs if source > 0]
    if taken != list(range(1, depth + 1)):
        raise UserError(
            f"init.layers: name a teacher layer for each of the student's layers 1 to {depth}, in "
            "order, as (student, teacher) pairs"
        )
    if anatomy.bottlenecked(student.config) and sample is not None:
        thin(student, teacher, pairs, sample)
        return student
    if student.config.hidden_size < teacher.config.hidden_size and sample is not None:
        narrow(student, teacher, pairs, sample, basis)
        return student
    _same_shape(student, teacher)
    with torch.no_grad():
        _copy_embeddings(student, teacher)
        _copy_layers(student, teacher, pairs)
        if head == "words":
            _copy_words_head(student, teacher)
    return student


def _same_shape(student: PreTrainedModel, teacher: PreTrainedModel) -> None:
    mine, theirs = student.config, teacher.config
    for config in (theirs, mine):
        if not anatomy.anatomy(config, "starting from the teacher's layers").copies:
            raise UserError(
                f"layers of '{config.model_type}' cannot be copied between architectures: set the "
                "recipe's init.start to 'scratch', or give --student"
            )
    sizes = {
        "hidden size": (mine.hidden_size, theirs.hidden_size),
        "vocabulary": (mine.vocab_size, theirs.vocab_size),
        "inner size": (anatomy.inner_size(student), anatomy.inner_size(teacher)),
        "tie_word_embeddings": (mine.tie_word_embeddings, theirs.tie_word_embeddings),
        "attention heads": (mine.num_attention_heads, theirs.num_attention_heads),
        "embedding size": (mine.hidden_size, getattr(theirs, "embedding_size", theirs.hidden_size)),
    }
    for name, (have, want) in sizes.items():
        if have != want:
            raise UserError(
                f"the student cannot start from the teacher's layers: its {name} is {have} and the "
                f"teacher's {want}; make them equal or set init.start to 'scratch'"
            )


def _copy_layers(
    student: PreTrainedModel, teacher: PreTrainedModel, pairs: Sequence[tuple[int, int]]
) -> None:
    mine, theirs = (anatomy.layers(m, "copying layers") for m in (student, teacher))
    my_parts, their_parts = (
        anatomy.anatomy(m.config, "copying layers").copies for m in (student, teacher)
    )
    for to, source in pairs:
        for my_part, their_part in zip(my_parts, their_parts, strict=True):
            state = theirs[source - 1].get_submodule(their_part).state_dict()
            mine[to - 1].get_submodule(my_part).load_state_dict(state)


def _copy_embeddings(student: PreTrainedModel, teacher: PreTrainedModel) -> None:
    mine, theirs = (model.base_model.get_submodule("embeddings") for model in (student, teacher))
    for part in ("word_embeddings", "LayerNorm"):
        mine.get_submodule(part).load_state_dict(theirs.get_submodule(part).state_dict())
    positions = anatomy.positions(teacher)
    parts = dict(theirs.named_parameters())
    if "token_type_embeddings.weight" in parts:
        types = parts["token_type_embeddings.weight"]
        if "token_type_embeddings.weight" in dict(mine.named_parameters()):
            kinds = mine.get_parameter("token_type_embeddings.weight")
            kinds.copy_(types[: len(kinds)])
        else:
            positions = positions + types[0]
    room = anatomy.positions(student)
    if len(room) > len(positions):
        raise UserError(
            f"the student has {len(room)} positions and its teacher {len(positions)}: lower its "
            "max_position_embeddings"
        )
    room.copy_(positions[: len(room)])


def _copy_words_head(student: PreTrainedModel, teacher: PreTrainedModel) -> None:
    if teacher.get_output_embeddings() is None:
        return
    mine, theirs = (
        anatomy.anatomy(m.config, "copying the head").transform for m in (student, teacher)
    )
    for to, source in zip(mine, theirs, strict=True):
        student.get_submodule(to).load_state_dict(teacher.get_submodule(source).state_dict())
    decoder = student.get_output_embeddings()
    assert isinstance(decoder, nn.Linear)
    weight, bias = anatomy.vocabulary_matrix(teacher)
    decoder.weight.copy_(weight)
    if bias is not None:
        decoder.bias.copy_(bias)
