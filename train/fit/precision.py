"""bfloat16 where the device computes in it; a CPU that only emulates it takes many times as long as in fp32."""

import torch

EMULATED = "This CPU has no instructions for bfloat16, so training computes in fp32, which is quicker here."


def has_bfloat16(device: torch.device) -> bool:
    """Whether oneDNN, which computes for PyTorch on a CPU, has kernels for bfloat16 there (on x86 they want AVX-512).
    Other devices are taken to have them."""
    return device.type != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def autocast(device: torch.device) -> torch.autocast:
    """A block in which the towers and the fusion compute in bfloat16 where `device` has it, else in fp32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device))
