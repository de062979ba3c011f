"""A student narrower than its teacher starts as the teacher seen through fewer dimensions."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from alembert.initialization import embeddings
from alembert.initialization.least_squares import settle
from alembert.io.errors import UserError
from alembert.models import architectures
from alembert.models.architectures import anatomy, inner_size, inputs_of, positions
from alembert.models.layer_map import Pairs
from alembert.models.trace import Batch, Reads, no_grad_trace

WHY = "starting from a wider teacher"


@dataclass(frozen=True)
class Projection:
    """The teacher's hidden state h is taken for `basis` @ (its student's) + `rest` of the layer.

    basis (H, h) has orthonormal columns; means[k] (H,) is the mean of hidden[k] over a sample,
    states[k] (N, h) what the sample's states should be, spread how much larger than the teacher's
    a state's entries are, and sharpness what its q k / sqrt(d) counts.
    """

    basis: Tensor
    means: dict[int, Tensor]
    states: dict[int, Tensor]
    spread: float
    sharpness: float

    def lifted(self, layer: int) -> Tensor:
        """(H + 1, h + 1): from [student's state, 1] to [teacher's state, 1]."""
        rest = self.means[layer] - self.basis @ (self.basis.T @ self.means[layer])
        top = torch.cat([self.basis, rest[:, None]], dim=1)
        bottom = torch.zeros(1, top.shape[1])
        bottom[0, -1] = 1.0
        return torch.cat([top, bottom])


def init_by_pca(
    student: PreTrainedModel, teacher: PreTrainedModel, pairs: Pairs, sample: Batch, basis: str
) -> None:
    """Write the teacher's layers into a narrower student, in place.

    basis: "components" (principal components of the teacher's hidden states over the sample) or
    "units" (its hidden units of largest variance). Each head's query-key and value-output products
    become their best approximations of the student's rank; of the feed-forward neurons the most
    used stay, the others leave their mean. Norms keep their gains as the basis sees them.
    Raises UserError where the teacher has no such parts, or less of something than the student.
    """
    _check(student, teacher)
    with torch.no_grad():
        student_layers, teacher_layers = (architectures.layers(m, WHY) for m in (student, teacher))
        parts = [anatomy(m.config, WHY).copies for m in (student, teacher)]
        pairs = pairs if parts[1] else ()
        view = _view(teacher, pairs, sample, student.config.hidden_size, basis)
        tables = [table @ view.basis for table in embeddings.tables(teacher)]
        embeddings.write(student, *tables)
        embedded = student.base_model.get_submodule("embeddings.LayerNorm")
        if (wider := embeddings.norm(teacher)) is not None:
            _norm(embedded, wider, view)
        match_statistics(student, embedded, 0, view.states[0], sample)
        used = _neurons(teacher, pairs, sample) if pairs else {}
        for to, source in pairs:
            here = [student_layers[to - 1].get_submodule(name) for name in parts[0]]
            there = [teacher_layers[source - 1].get_submodule(name) for name in parts[1]]
            heads = student.config.num_attention_heads, teacher.config.num_attention_heads
            _attention(here[:4], there[:4], view, source - 1, heads)
            _feed_forward(here[5:7], there[5:7], view, source, *used[source])
            for norm, wider in ((here[4], there[4]), (here[7], there[7])):
                _norm(norm, wider, view)
            match_statistics(student, here[7], to, view.states[source], sample)


def _check(student: PreTrainedModel, teacher: PreTrainedModel) -> None:
    mend = "set init.start to 'scratch' (--set init.start=scratch), or give --student"
    student_config, teacher_config = student.config, teacher.config
    sizes = [
        ("vocabulary", student_config.vocab_size, teacher_config.vocab_size),
        ("positions", len(positions(student)), len(positions(teacher))),
    ]
    if anatomy(teacher_config, WHY).copies:
        sizes.append(("inner size", inner_size(student_config), inner_size(teacher_config)))
    for name, have, want in sizes:
        if have > want or (name == "vocabulary" and have != want):
            raise UserError(
                f"the student's {name} is {have} and its teacher's {want}: it cannot start from "
                f"it; lower it, or {mend}"
            )


def _view(
    teacher: PreTrainedModel, pairs: Pairs, sample: Batch, width: int, basis: str
) -> Projection:
    layers = frozenset({0} | {t for _, t in pairs} | {t - 1 for _, t in pairs})
    hidden = no_grad_trace(teacher, sample, Reads(hidden=layers)).hidden
    real = sample["attention_mask"].bool()
    states = {k: h[real].float() for k, h in hidden.items()}
    means = {k: h.mean(dim=0) for k, h in states.items()}
    spread = torch.cat([h - means[k] for k, h in states.items()])
    if basis == "units":
        chosen = spread.square().mean(dim=0).topk(width).indices.sort().values
        found = torch.eye(spread.shape[1])[:, chosen]
    else:
        found = _off_centre(principal(spread, width))
    kept = (spread @ found).square().sum() / spread.square().sum()
    return Projection(
        found,
        means,
        {k: h @ found for k, h in states.items()},
        math.sqrt(float(kept) * spread.shape[1] / width),
        architectures.sharpness(teacher.config),
    )


def principal(rows: Tensor, width: int) -> Tensor:
    """The first `width` principal directions (H, width) of centred rows (N, H)."""
    _, vectors = torch.linalg.eigh((rows.T @ rows).double())
    found: Tensor = vectors.flip(1)[:, :width].float()
    return found


def _off_centre(basis: Tensor) -> Tensor:
    """The same space, turned so that what a norm's centring takes away is its last component."""
    width = basis.shape[1]
    axis = torch.full((width,), 1 / math.sqrt(width))
    axis[-1] -= 1
    if axis.norm() < 1e-6:
        return basis
    axis /= axis.norm()
    return basis - 2 * (basis @ axis)[:, None] * axis


def _norm(norm: nn.Module, wider: nn.Module, view: Projection) -> None:
    gain, bias = wider.get_parameter("weight"), dict(wider.named_parameters()).get("bias")
    norm.get_parameter("weight").copy_((view.basis.square().T @ gain) * view.spread)
    norm.get_parameter("bias").copy_(torch.zeros(1) if bias is None else bias @ view.basis)


def match_statistics(
    student: PreTrainedModel, norm: nn.Module, layer: int, states: Tensor, sample: Batch
) -> None:
    """Give a layer's output, dimension by dimension, the mean and the spread of `states` (N, h)."""
    hidden = no_grad_trace(student, sample, Reads(hidden=frozenset({layer}))).hidden[layer]
    settle(norm, hidden[sample["attention_mask"].bool()].float(), states)


def _attention(
    here: list[nn.Module],
    there: list[nn.Module],
    view: Projection,
    layer: int,
    heads: tuple[int, int],
) -> None:
    lift = view.lifted(layer)
    query, key, value = (_homogeneous(part) @ lift for part in there[:3])  # (H, h + 1)
    out = view.basis.T @ there[3].get_parameter("weight")  # (h, H)
    size = len(here[0].get_parameter("weight")) // heads[0]
    wider = len(query) // heads[1]
    scale = view.sharpness * math.sqrt(size / wider)
    offset = view.basis.T @ there[3].get_parameter("bias")
    for head in range(min(heads)):
        rows, wide = slice(head * size, (head + 1) * size), slice(head * wider, (head + 1) * wider)
        left, right = factors(query[wide].T @ key[wide] * scale, size)
        here[0].get_parameter("weight")[rows], here[0].get_parameter("bias")[rows] = _split(left.T)
        here[1].get_parameter("weight")[rows], here[1].get_parameter("bias")[rows] = _split(right)
        left, right = factors(out[:, wide] @ value[wide, :-1], size)
        here[2].get_parameter("weight")[rows] = right
        here[3].get_parameter("weight")[:, rows] = left
        offset += out[:, wide] @ value[wide, -1]  # attention adds up to 1: a constant
    here[2].get_parameter("bias").zero_()
    here[3].get_parameter("bias").copy_(offset)


def _homogeneous(linear: nn.Module) -> Tensor:
    weight, bias = linear.get_parameter("weight"), linear.get_parameter("bias")
    return torch.cat([weight, bias[:, None]], dim=1)


def _split(weight: Tensor) -> tuple[Tensor, Tensor]:
    return weight[:, :-1], weight[:, -1]


def factors(product: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Two factors of the nearest matrix of this rank (Eckart and Young), of equal size."""
    left, sizes, right = torch.linalg.svd(product, full_matrices=False)
    root = sizes[:rank].sqrt()
    return left[:, :rank] * root, root[:, None] * right[:rank]


def _neurons(
    teacher: PreTrainedModel, pairs: Pairs, sample: Batch
) -> dict[int, tuple[Tensor, Tensor]]:
    """Mean and spread of the feed-forward neurons of the layers named, over the sample."""
    name = anatomy(teacher.config, WHY).copies[6]
    found: dict[int, tuple[Tensor, Tensor]] = {}
    real = sample["attention_mask"].bool()
    handles = []
    for layer in {t for _, t in pairs}:

        def keep(_: nn.Module, args: tuple[Tensor, ...], layer: int = layer) -> None:
            active = args[0][real].float()
            found[layer] = (active.mean(dim=0), active.std(dim=0))

        part = architectures.layers(teacher, WHY)[layer - 1].get_submodule(name)
        handles.append(part.register_forward_pre_hook(keep))
    inputs = {name: sample[name] for name in inputs_of(teacher) if name in sample}
    teacher.base_model(**inputs)
    for handle in handles:
        handle.remove()
    return found


def _feed_forward(
    here: list[nn.Module],
    there: list[nn.Module],
    view: Projection,
    layer: int,
    mean: Tensor,
    spread: Tensor,
) -> None:
    out = view.basis.T @ there[1].get_parameter("weight")  # (h, neurons)
    count = len(here[0].get_parameter("weight"))
    worth = spread * out.norm(dim=0)
    kept = torch.zeros(len(mean), dtype=torch.bool)
    kept[worth.topk(count).indices] = True
    first, bias = _split((_homogeneous(there[0]) @ view.lifted(layer))[kept])
    here[0].get_parameter("weight").copy_(first)
    here[0].get_parameter("bias").copy_(bias)
    here[1].get_parameter("weight").copy_(out[:, kept])
    here[1].get_parameter("bias").copy_(
        view.basis.T @ there[1].get_parameter("bias") + out[:, ~kept] @ mean[~kept]
    )
