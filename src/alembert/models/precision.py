"""The precision that suits a device."""

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
