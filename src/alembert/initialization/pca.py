"""Initializes a student of smaller hidden size by projecting its teacher (PCA)."""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from alembert.initialization import embeddings
from alembert.initialization.least_squares import assign, rescale, rows_of_heads
from alembert.io.errors import UserError
from alembert.models import architectures
from alembert.models.architectures import anatomy, inner_size, positions
from alembert.models.layer_map import Pairs
from alembert.models.trace import Batch, Reads, no_grad_trace

WHY = "starting from a wider teacher"
Neurons = dict[int, tuple[Tensor, Tensor]]  # layer: mean and spread (n,) of its inner neurons


@dataclass(frozen=True, kw_only=True)
class Projection:
    """Approximates a teacher state as basis @ student_state + rest, a constant of the layer.

    basis (H, h) has orthonormal columns. means[k] (H,) is the mean of hidden[k] over a sample, and
    states[k] (N, h) are the sample's projected states. spread is the ratio of a projected entry's
    size to a teacher entry's, and sharpness the teacher's factor on q k / sqrt(d).
    """

    basis: Tensor
    means: dict[int, Tensor]
    states: dict[int, Tensor]
    spread: float
    sharpness: float

    def lifted(self, layer: int) -> Tensor:
        """The matrix (H + 1, h + 1) from [student state, 1] to [teacher state, 1]."""
        rest = self.means[layer] - self.basis @ (self.basis.T @ self.means[layer])
        top = torch.cat([self.basis, rest[:, None]], dim=1)
        bottom = torch.zeros(1, top.shape[1])
        bottom[0, -1] = 1.0
        return torch.cat([top, bottom])


def init_by_pca(
    student: PreTrainedModel, teacher: PreTrainedModel, pairs: Pairs, sample: Batch, basis: str
) -> None:
    """Writes the teacher's layers, projected, into a student of smaller hidden size, in place.

    basis is "components" (principal components of the teacher's hidden states over the sample) or
    "units" (its hidden units of largest variance). Each head's query-key and value-output products
    become their best approximations of the student's rank. The most active feed-forward neurons
    are kept, and the others are replaced by their mean. Gains of norms are projected.
    Raises UserError when the teacher lacks these parts or is smaller than the student in one.
    """
    _check(student, teacher)
    with torch.no_grad():
        student_layers, teacher_layers = (architectures.layers(m, WHY) for m in (student, teacher))
        parts = [anatomy(m.config, WHY).copies for m in (student, teacher)]
        pairs = pairs if parts[1] else ()
        projection, used = _project(teacher, pairs, sample, student.config.hidden_size, basis)
        tables = [table @ projection.basis for table in embeddings.tables(teacher)]
        embeddings.write(student, *tables)
        embedded = student.base_model.get_submodule("embeddings.LayerNorm")
        if (wide_norm := embeddings.norm(teacher)) is not None:
            _project_norm(embedded, wide_norm, projection)
        match_statistics(student, embedded, 0, projection.states[0], sample)
        embeddings.copy_distances(student, teacher)
        for to, source in pairs:
            narrow = [student_layers[to - 1].get_submodule(name) for name in parts[0]]
            wide = [teacher_layers[source - 1].get_submodule(name) for name in parts[1]]
            heads = student.config.num_attention_heads, teacher.config.num_attention_heads
            _attention(narrow[:4], wide[:4], projection, source - 1, heads)
            _feed_forward(narrow[5:7], wide[5:7], projection, source, *used[source])
            for norm, wide_norm in ((narrow[4], wide[4]), (narrow[7], wide[7])):
                _project_norm(norm, wide_norm, projection)
            match_statistics(student, narrow[7], to, projection.states[source], sample)


def _check(student: PreTrainedModel, teacher: PreTrainedModel) -> None:
    fix = "set init.start to 'scratch' (--set init.start=scratch), or give --student"
    student_config, teacher_config = student.config, teacher.config
    sizes = [
        ("vocabulary", student_config.vocab_size, teacher_config.vocab_size),
        ("positions", len(positions(student)), len(positions(teacher))),
    ]
    if anatomy(teacher_config, WHY).copies:
        sizes.append(("inner size", inner_size(student_config), inner_size(teacher_config)))
    for name, student_size, teacher_size in sizes:
        if student_size > teacher_size or (name == "vocabulary" and student_size != teacher_size):
            raise UserError(
                f"the student's {name} is {student_size} and its teacher's {teacher_size}: it "
                f"cannot start from it; lower it, or {fix}"
            )


def _project(
    teacher: PreTrainedModel, pairs: Pairs, sample: Batch, width: int, basis: str
) -> tuple[Projection, Neurons]:
    """Return a projection to `width`, and the teacher's neurons, both from one pass of it."""
    layers = frozenset({0} | {t for _, t in pairs} | {t - 1 for _, t in pairs})
    real = sample["attention_mask"].bool()
    with _observed(teacher, pairs, real) as neurons:
        hidden = no_grad_trace(teacher, sample, Reads(hidden=layers)).hidden
    states = {k: h[real].float() for k, h in hidden.items()}
    means = {k: h.mean(dim=0) for k, h in states.items()}
    spread = torch.cat([h - means[k] for k, h in states.items()])
    if basis == "units":
        chosen = spread.square().mean(dim=0).topk(width).indices.sort().values
        directions = torch.eye(spread.shape[1])[:, chosen]
    else:
        directions = _off_centre(principal(spread, width))
    explained = (spread @ directions).square().sum() / spread.square().sum()
    projection = Projection(
        basis=directions,
        means=means,
        states={k: h @ directions for k, h in states.items()},
        spread=math.sqrt(float(explained) * spread.shape[1] / width),
        sharpness=architectures.sharpness(teacher.config),
    )
    return projection, neurons


def principal(rows: Tensor, width: int) -> Tensor:
    """The first `width` principal directions (H, width) of centred rows (N, H)."""
    _, vectors = torch.linalg.eigh((rows.T @ rows).double())
    directions: Tensor = vectors.flip(1)[:, :width].float()
    return directions


def _off_centre(basis: Tensor) -> Tensor:
    """A basis of the same space; a norm's centring removes its last component."""
    width = basis.shape[1]
    axis = torch.full((width,), 1 / math.sqrt(width))
    axis[-1] -= 1
    if axis.norm() < 1e-6:
        return basis
    axis /= axis.norm()
    return basis - 2 * (basis @ axis)[:, None] * axis


def _project_norm(norm: nn.Module, wide: nn.Module, projection: Projection) -> None:
    gain, bias = wide.get_parameter("weight"), dict(wide.named_parameters()).get("bias")
    narrow_bias = torch.zeros(1) if bias is None else bias @ projection.basis
    assign(norm, (projection.basis.square().T @ gain) * projection.spread, narrow_bias)


def match_statistics(
    student: PreTrainedModel, norm: nn.Module, layer: int, states: Tensor, sample: Batch
) -> None:
    """Sets a norm so that the layer's output has, by dimension, the mean and spread of `states`."""
    hidden = no_grad_trace(student, sample, Reads(hidden=frozenset({layer}))).hidden[layer]
    rescale(norm, hidden[sample["attention_mask"].bool()].float(), states)


def _attention(
    to: list[nn.Module],
    source: list[nn.Module],
    projection: Projection,
    layer: int,
    heads: tuple[int, int],
) -> None:
    lift = projection.lifted(layer)
    query, key, value = (_homogeneous(part) @ lift for part in source[:3])  # (H, h + 1)
    out = projection.basis.T @ source[3].get_parameter("weight")  # (h, H)
    size = len(to[0].get_parameter("weight")) // heads[0]
    wide_size = len(query) // heads[1]
    scale = projection.sharpness * math.sqrt(size / wide_size)
    offset = projection.basis.T @ source[3].get_parameter("bias")
    for rows, wide in rows_of_heads(min(heads), size, wide_size):
        left, right = factors(query[wide].T * scale, key[wide], size)
        to[0].get_parameter("weight")[rows], to[0].get_parameter("bias")[rows] = _split(left.T)
        to[1].get_parameter("weight")[rows], to[1].get_parameter("bias")[rows] = _split(right)
        left, right = factors(out[:, wide], value[wide, :-1], size)
        to[2].get_parameter("weight")[rows] = right
        to[3].get_parameter("weight")[:, rows] = left
        offset += out[:, wide] @ value[wide, -1]  # probabilities add up to 1: a constant
    to[2].get_parameter("bias").zero_()
    to[3].get_parameter("bias").copy_(offset)


def _homogeneous(linear: nn.Module) -> Tensor:
    weight, bias = linear.get_parameter("weight"), linear.get_parameter("bias")
    return torch.cat([weight, bias[:, None]], dim=1)


def _split(weight: Tensor) -> tuple[Tensor, Tensor]:
    return weight[:, :-1], weight[:, -1]


def factors(left: Tensor, right: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return two factors (n, rank), (rank, m) of equal size whose product is nearest to another's.

    That is left @ right, of (n, k) and (k, m), and the best of this rank (Eckart and Young). Only a
    matrix of (k, k) is decomposed: of a head of a wide layer in a hundredth of the time.
    """
    more = max(rank - left.shape[1], 0)  # columns of zeros, where the rank is higher
    left, right = nn.functional.pad(left, (0, more)), nn.functional.pad(right, (0, 0, 0, more))
    rows, upper = torch.linalg.qr(left)
    columns, lower = torch.linalg.qr(right.T)
    first, sizes, last = torch.linalg.svd(upper @ lower.T, full_matrices=False)
    root = sizes[:rank].sqrt()
    return rows @ first[:, :rank] * root, root[:, None] * (last[:rank] @ columns.T)


@contextmanager
def _observed(teacher: PreTrainedModel, pairs: Pairs, real: Tensor) -> Iterator[Neurons]:
    """Yield what a pass of the teacher over a sample, within the block, shows of its neurons.

    real (B, T) says which of the sample's tokens are no padding.
    """
    statistics: Neurons = {}
    with ExitStack() as handles:
        for layer in {t for _, t in pairs}:

            def collect(_: nn.Module, args: tuple[Tensor, ...], layer: int = layer) -> None:
                active = args[0][real].float()
                statistics[layer] = (active.mean(dim=0), active.std(dim=0))

            name = anatomy(teacher.config, WHY).copies[6]
            part = architectures.layers(teacher, WHY)[layer - 1].get_submodule(name)
            handles.callback(part.register_forward_pre_hook(collect).remove)
        yield statistics


def _feed_forward(
    to: list[nn.Module],
    source: list[nn.Module],
    projection: Projection,
    layer: int,
    mean: Tensor,
    spread: Tensor,
) -> None:
    out = projection.basis.T @ source[1].get_parameter("weight")  # (h, neurons)
    count = len(to[0].get_parameter("weight"))
    importance = spread * out.norm(dim=0)
    kept = torch.zeros(len(mean), dtype=torch.bool)
    kept[importance.topk(count).indices] = True
    assign(to[0], *_split((_homogeneous(source[0]) @ projection.lifted(layer))[kept]))
    constant = projection.basis.T @ source[1].get_parameter("bias") + out[:, ~kept] @ mean[~kept]
    assign(to[1], out[:, kept], constant)
