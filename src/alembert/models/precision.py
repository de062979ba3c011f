"""How torch computes: the precision that suits a device, and the number of threads."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from alembert.io.errors import UserError


def precision_of(choice: str, device: torch.device) -> str:
    """accelerate's name of a precision; "auto" is bf16 where the hardware multiplies it, else no.

    Raises UserError for fp16 on a CPU.
    """
    if choice == "fp16" and device.type == "cpu":
        raise UserError("--precision fp16 needs a GPU: choose auto, fp32 or bf16")
    if choice != "auto":
        return {"fp32": "no"}.get(choice, choice)
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "no"
    capable = torch.cpu.get_capabilities()
    return "bf16" if capable.get("avx512_bf16") or capable.get("amx_bf16") else "no"


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Within the block torch computes on `count` threads; None leaves their number."""
    if count is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
