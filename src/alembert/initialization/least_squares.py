"""Closed-form fits to rows of activations: ridge regression, norm statistics, whitening."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn


def ridge(inputs: Tensor, targets: Tensor, *dampings: float) -> tuple[Tensor, Tensor]:
    """Weight (H, h) and bias (H,) of the ridge regression of targets (N, H) on inputs (N, h).

    dampings are ridge penalties as shares of the mean variance of the inputs. Among several, the
    one with the least error on every fifth row, fitted on the others, is taken.
    """
    damping = dampings[0]
    if len(dampings) > 1 and len(inputs) >= 5:
        held_out = torch.arange(len(inputs)) % 5 == 4
        solutions = _solved(inputs[~held_out], targets[~held_out], dampings)
        errors = [
            (inputs[held_out] @ w.T + b - targets[held_out]).square().mean() for w, b in solutions
        ]
        damping = dampings[int(torch.stack(errors).argmin())]
    return _solved(inputs, targets, (damping,))[0]


def _solved(
    inputs: Tensor, targets: Tensor, dampings: tuple[float, ...]
) -> list[tuple[Tensor, Tensor]]:
    """The solution (weight, bias) for each damping."""
    input_mean, target_mean = inputs.mean(dim=0), targets.mean(dim=0)
    inputs, targets = inputs - input_mean, targets - target_mean
    square, product = (inputs.T @ inputs).double(), (inputs.T @ targets).double()
    size, solutions = square.diagonal().mean(), []
    for damping in dampings:
        damped = square + (damping * size + 1e-9) * torch.eye(len(square), dtype=square.dtype)
        weight = torch.linalg.solve(damped, product).T.float()
        solutions.append((weight, target_mean - weight @ input_mean))
    return solutions


def least_squares(linear: nn.Module, inputs: Tensor, targets: Tensor, *dampings: float) -> None:
    """Sets a Linear to the ridge solution, in place."""
    weight, bias = ridge(inputs, targets, *dampings)
    with torch.no_grad():
        assign(linear, weight, bias)


def assign(part: nn.Module, weight: Tensor, bias: Tensor) -> None:
    """Sets weight and bias of a Linear or a norm, in place."""
    part.get_parameter("weight").copy_(weight)
    part.get_parameter("bias").copy_(bias)


def rows_of_heads(heads: int, *sizes: int) -> Iterator[tuple[slice, ...]]:
    """For each head, the slices of its rows in matrices whose heads have these sizes."""
    for head in range(heads):
        yield tuple(slice(head * size, (head + 1) * size) for size in sizes)


def rescale(norm: nn.Module, outputs: Tensor, states: Tensor) -> None:
    """Scales and shifts a norm so that its outputs (N, h) get the mean and spread of `states`."""
    gain, bias = norm.get_parameter("weight"), norm.get_parameter("bias")
    ratio = states.std(dim=0) / outputs.std(dim=0).clamp(min=1e-6)
    gain.mul_(ratio)
    bias.copy_((bias - outputs.mean(dim=0)) * ratio + states.mean(dim=0))


def whiten(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (h,) and Cholesky factor (h, h) of the covariance of rows (N, h)."""
    mean = rows.mean(dim=0)
    square = ((rows - mean).T @ (rows - mean)).double() / len(rows)
    square.diagonal().add_(1e-4 * square.diagonal().mean() + 1e-9)
    return mean, torch.linalg.cholesky(square).float()


def unwhiten(factor: Tensor, lower: Tensor) -> Tensor:
    """Converts a matrix (d, h) that applies to whitened rows to one for the rows themselves."""
    weight: Tensor = torch.linalg.solve_triangular(lower, factor, upper=False, left=False)
    return weight
