"""The k largest logits of a teacher over the vocabulary, and the soft-label loss of them.

For a row with logits l (V,) we store the ids K of the k largest, their gaps l_i - max l, and for
each temperature T the mass of all other tokens, R = 1 - sum_{i in K} p_i with p = softmax(l / T).
The k probabilities are recovered exactly: p_i = (1 - R) softmax(gaps / T)_i. Rounded to fp16 a gap
is off by at most 2^-11 of itself, and gaps are small where there is mass.

The loss treats all other tokens as one: with x the student's logits / T, q = softmax(x) and
Q = 1 - sum_{i in K} q_i,

    L = T^2 ( sum_{i in K} p_i log(p_i / q_i) + R log(R / Q) )
    dL / dx_i = T^2 ( q_i - p_i )           for i in K
    dL / dx_i = T^2 ( q_i - R q_i / Q )     for all others

By the chain rule of KL the full loss is L + T^2 R KL(p outside K || q outside K): L is never above
it, and has its least value, 0, at q = p too. (Renormalising the k probabilities, R = 0, would teach
the student to give the other tokens nothing.) With k = V, L is the full loss. The gradient loses
only the distribution of R among the other tokens: its entries there differ from the full gradient's
by T^2 |p_i - R q_i / Q|, at most 2 T^2 R in sum.
"""

import torch
from torch import Tensor

from alembert.models.logits import TopK, VocabularyLogits
from alembert.objectives.fused_linear import CHUNK, ChunkLoss, VocabularyTerm

NOWHERE = -1e30  # a logit without mass; unlike -inf it never gives NaN


def top_k(teacher: VocabularyLogits, k: int, temperatures: tuple[float, ...]) -> TopK:
    """The k largest logits of every row, fp32; logits are computed a chunk of rows at a time."""
    ids, gaps = [], []
    rest: dict[float, list[Tensor]] = {temperature: [] for temperature in temperatures}
    for start in range(0, max(len(teacher.rows), 1), CHUNK):
        logits = teacher.logits(slice(start, start + CHUNK)).float()
        best, indices = logits.topk(min(k, logits.shape[1]))
        others = logits.scatter(1, indices, NOWHERE)
        ids.append(indices)
        gaps.append(best - best[:, :1])
        for temperature, masses in rest.items():
            inside, outside = ((x / temperature).logsumexp(1) for x in (best, others))
            masses.append(torch.exp(outside - torch.logaddexp(inside, outside)))
    joined = {temperature: torch.cat(masses) for temperature, masses in rest.items()}
    return TopK(torch.cat(ids), torch.cat(gaps), joined, teacher.selected)


def top_k_soft_labels(
    teacher: TopK, temperature: float, rows: Tensor | None = None
) -> VocabularyTerm:
    """T^2 KL(teacher || student) over k tokens and the rest as one, mean over N; 0 when N is 0."""
    scale = temperature / max(len(teacher.ids), 1)

    def prepare(part: slice) -> ChunkLoss:
        ids, gaps = teacher.ids[part].long(), teacher.gaps[part].float()
        masses = teacher.rest[temperature][part].float()

        def chunk(logits: Tensor, block: slice) -> tuple[Tensor, Tensor]:
            x, indices, rest = logits.div_(temperature), ids[block], masses[block]
            p = torch.softmax(gaps[block] / temperature, 1) * (1 - rest).unsqueeze(1)
            inside = x.gather(1, indices)
            outside = x.scatter_(1, indices, NOWHERE).logsumexp(1)
            gradient = torch.softmax(x, 1)  # q / Q of the others
            lse = torch.logaddexp(inside.logsumexp(1), outside)
            log_q, log_rest = inside - lse.unsqueeze(1), outside - lse
            kl = (torch.xlogy(p, p) - p * log_q).sum(1) + torch.xlogy(rest, rest) - rest * log_rest
            gradient.mul_((log_rest.exp() - rest).unsqueeze(1)).scatter_(
                1, indices, log_q.exp() - p
            )
            return kl.sum() * temperature * scale, gradient.mul_(scale)

        return chunk

    return VocabularyTerm(prepare, rows)
