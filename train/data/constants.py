"""Numbers as tensors that stay on their device."""

from functools import cache
from typing import Any

import torch
from torch import Tensor


@cache
def constant(values: tuple[Any, ...], device: torch.device) -> Tensor:
    """Numbers as a float tensor, copied to the device once: while it gets fresh ones, a GPU is waited for."""
    return torch.tensor(values, dtype=torch.float32, device=device)
