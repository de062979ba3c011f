"""What is fitted to rows in closed form: Linears, norms, whitening."""

import torch
from torch import Tensor, nn


def ridge(inputs: Tensor, targets: Tensor, *dampings: float) -> tuple[Tensor, Tensor]:
    """Weight (H, h) and bias (H,) that take rows of inputs (N, h) to targets (N, H).

    dampings: penalties of a weight, as shares of the mean variance of the inputs. Of several the
    one is taken that says most of every fifth row from the other four.
    """
    damping = dampings[0]
    if len(dampings) > 1 and len(inputs) >= 5:
        asked = torch.arange(len(inputs)) % 5 == 4
        tried = _solved(inputs[~asked], targets[~asked], dampings)
        errors = [(inputs[asked] @ w.T + b - targets[asked]).square().mean() for w, b in tried]
        damping = dampings[int(torch.stack(errors).argmin())]
    return _solved(inputs, targets, (damping,))[0]


def _solved(
    inputs: Tensor, targets: Tensor, dampings: tuple[float, ...]
) -> list[tuple[Tensor, Tensor]]:
    """(weight, bias) for each damping."""
    centre, aim = inputs.mean(dim=0), targets.mean(dim=0)
    inputs, targets = inputs - centre, targets - aim
    square, product = (inputs.T @ inputs).double(), (inputs.T @ targets).double()
    size, found = square.diagonal().mean(), []
    for damping in dampings:
        damped = square + (damping * size + 1e-9) * torch.eye(len(square), dtype=square.dtype)
        weight = torch.linalg.solve(damped, product).T.float()
        found.append((weight, aim - weight @ centre))
    return found


def least_squares(linear: nn.Module, inputs: Tensor, targets: Tensor, *dampings: float) -> None:
    """Set a Linear to the ridge answer, in place."""
    weight, bias = ridge(inputs, targets, *dampings)
    with torch.no_grad():
        linear.get_parameter("weight").copy_(weight)
        linear.get_parameter("bias").copy_(bias)


def settle(norm: nn.Module, found: Tensor, states: Tensor) -> None:
    """Give what a norm gives, `found` (N, h), the mean and the spread of `states` (N, h)."""
    gain, bias = norm.get_parameter("weight"), norm.get_parameter("bias")
    ratio = states.std(dim=0) / found.std(dim=0).clamp(min=1e-6)
    gain.mul_(ratio)
    bias.copy_((bias - found.mean(dim=0)) * ratio + states.mean(dim=0))


def whitened(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (h,) and Cholesky factor (h, h) of the covariance of rows (N, h)."""
    mean = rows.mean(dim=0)
    square = ((rows - mean).T @ (rows - mean)).double() / len(rows)
    square.diagonal().add_(1e-4 * square.diagonal().mean() + 1e-9)
    return mean, torch.linalg.cholesky(square).float()


def unwhitened(factor: Tensor, lower: Tensor) -> Tensor:
    """factor (d, h) over whitened rows -> over the rows themselves."""
    found: Tensor = torch.linalg.solve_triangular(lower, factor, upper=False, left=False)
    return found
