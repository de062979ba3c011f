"""Losses: pure functions, tensors in, one scalar out. Student first, teacher second, mask third.

Shape letters: B batch, T tokens, H hidden size, A heads, d head size, V vocabulary, C classes,
N rows that count. A mask is (B, T), 1 at real tokens and 0 at padding; None counts every position.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def soft_labels(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) of logits (N, C) softened by T, mean over N (DistilBERT, L_ce)."""
    log_student = F.log_softmax(student.float() / temperature, dim=-1)
    log_teacher = F.log_softmax(teacher.float() / temperature, dim=-1)
    kl = F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    return kl * temperature**2  # keeps the gradient's size when the temperature changes


def soft_bernoulli(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL of independent yes/no labels, logits (N, C), mean over N and C (multi-label tasks)."""
    student, teacher = student.float() / temperature, teacher.float() / temperature
    target = torch.sigmoid(teacher)
    cross = F.binary_cross_entropy_with_logits(student, target)
    return (cross - F.binary_cross_entropy_with_logits(teacher, target)) * temperature**2


def hard_labels(student: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross entropy of logits (N, C) with class ids (N,), mean over labels that are not -100.

    With weights (C,), each 1 or more, the mean is sum w_i l_i / sum w_i, where w_i is the weight of
    row i's class. The loss is zero, with a zero gradient, when no row is labelled.
    """
    total = F.cross_entropy(student.float(), labels, weights, ignore_index=-100, reduction="sum")
    known = labels != -100
    return total / (known if weights is None else weights[labels[known]]).sum().clamp(min=1)


def soft_spans(student: Tensor, teacher: Tensor, spans: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) of where an answer starts and where it ends, mean over B and both.

    Logits (B, T, 2) are compared at the tokens whose spans (B, T) are not -100.
    """
    student, teacher = (
        _of_places(logits.float() / temperature, spans) for logits in (student, teacher)
    )
    kl = F.kl_div(student, teacher, reduction="sum", log_target=True)
    return kl * temperature**2 / (2 * len(spans))


def hard_spans(student: Tensor, spans: Tensor) -> Tensor:
    """Cross entropy of logits (B, T, 2) with where answers start and end, mean over rows and both.

    spans (B, T) are -100 where neither may be, else 1 at the start plus 2 at the end. Rows without
    either have no label; the loss is zero, with a zero gradient, when no row has one.
    """
    log_p = _of_places(student.float(), spans)
    ends = torch.stack([(spans > 0) & (spans & bit > 0) for bit in (1, 2)], dim=-1)
    return -torch.where(ends, log_p, 0.0).sum() / ends.sum().clamp(min=1)


def _of_places(logits: Tensor, spans: Tensor) -> Tensor:
    """The log of the distributions (B, T, 2) over the tokens that may start, or end, an answer."""
    return F.log_softmax(logits.masked_fill((spans == -100)[:, :, None], -1e9), dim=1)


def squared_error(student: Tensor, target: Tensor) -> Tensor:
    """Mean of (student - target)^2 over entries whose target is not NaN; zero when all are NaN."""
    known = ~torch.isnan(target)
    gap = torch.where(known, student.float() - torch.nan_to_num(target.float()), 0.0)
    return gap.square().sum() / known.sum().clamp(min=1)


def hard_bernoulli(student: Tensor, labels: Tensor) -> Tensor:
    """Binary cross entropy of logits (N, C) with labels (N, C) in {0, 1}, NaN where unknown."""
    known = ~torch.isnan(labels)
    cross = F.binary_cross_entropy_with_logits(
        student.float(), torch.nan_to_num(labels), reduction="none"
    )
    return torch.where(known, cross, 0.0).sum() / known.sum().clamp(min=1)


def hidden_cosine(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """1 - cos(student, teacher) of states (B, T, H), mean over real tokens (DistilBERT, L_cos)."""
    distance = 1 - F.cosine_similarity(student.float(), teacher.float(), dim=-1)
    return _mean(distance, mask)


def hidden_mse(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared error of states (B, T, H) over real tokens and H (TinyBERT, eq. 8 and 9)."""
    return _mean((student.float() - teacher.float()).square().mean(dim=-1), mask)


def feature_map(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """hidden_mse of states normalised to mean 0 and variance 1 over H (MobileBERT, eq. 1)."""
    student, teacher = (F.layer_norm(x.float(), x.shape[-1:]) for x in (student, teacher))
    return hidden_mse(student, teacher, mask)


def attention_mse(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared error of unnormalised scores (B, A, T, T) over heads and real pairs of tokens.

    TinyBERT, eq. 7. Scores at padding are arbitrary, and the mask excludes them here.
    """
    gap = (student.float() - teacher.float()).square().mean(dim=1)
    if mask is None:
        return gap.mean()
    return _mean(gap, mask[:, :, None] * mask[:, None, :])


def attention_mse_of(
    student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], mask: Tensor
) -> Tensor:
    """attention_mse of queries / sqrt(d) and keys (B, A, T, d), without a T x T matrix.

    |Q K^T|^2 is the sum of the entrywise product of Q^T Q and K^T K, with the student's and the
    teacher's vectors side by side: this takes T d^2 operations, where the scores take T^2 d.
    """
    real = mask[:, None, :, None]
    with torch.autocast(mask.device.type, enabled=False):
        queries, keys = (
            torch.cat([student_part.float(), teacher_part.float() * sign], dim=-1) * real
            for student_part, teacher_part, sign in zip(student, teacher, (-1, 1), strict=True)
        )
        gap = (queries.transpose(-1, -2) @ queries) * (keys.transpose(-1, -2) @ keys)
        return gap.sum() / (mask.sum(dim=1).square().sum().clamp(min=1) * queries.shape[1])


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return values.mean()
    return torch.where(mask.bool(), values, 0.0).sum() / mask.sum().clamp(min=1)
