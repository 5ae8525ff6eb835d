"""Several processes as one: what they tell each other in a step, and how one's failure ends all.

Hugging Face Accelerate starts them and picks the device; here stands only what a contrastive loss and a clear ending
need beside it.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import gather_object
from torch import Tensor

from cilf.errors import CilfError
from train.fit.precision import EMULATED, has_bfloat16

log = logging.getLogger(__name__)


class ProcessError(CilfError):
    """A process of several cannot go on, or must not; the message says which one and why."""


def start_processes(precision: str, parts: int) -> Accelerator:
    """This process' door to the others and its device: of an `accelerate launch` or `torchrun`, or alone.

    `precision` is "bf16" or "fp32", which is also taken where the device only emulates bfloat16; `parts` is the number
    of batches whose gradients make one step.
    """
    accelerator = _accelerator(precision, parts)
    if precision == "bf16" and not has_bfloat16(accelerator.device):
        log.info("%s", EMULATED)
        return _accelerator("fp32", parts)
    return accelerator


def _accelerator(precision: str, parts: int) -> Accelerator:
    # Accelerate keeps one precision for a whole program, which may fit several recipes.
    AcceleratorState._reset_state()
    return Accelerator(
        mixed_precision="bf16" if precision == "bf16" else "no", gradient_accumulation_steps=parts
    )


def number() -> tuple[int, int]:
    """This process' number and how many there are, before `start_processes` too."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def single() -> bool:
    """Whether this process trains alone."""
    return not dist.is_initialized() or dist.get_world_size() == 1


class _Gather(torch.autograd.Function):
    """All processes' rows, one after another; the gradient of a row is the sum of what all processes made of it."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        whole = gradients[0].contiguous()
        dist.all_reduce(whole)
        return whole.chunk(dist.get_world_size())[dist.get_rank()]


def gather(rows: Tensor) -> Tensor:
    """(B, …) rows of this process → (P·B, …) rows of all P, in their order, with gradient. B is the same in all.

    When every process takes the same loss from the whole, a row's gradient here is P times that of one process; data
    parallelism then takes the mean over the processes, which leaves exactly the gradient of one process with all rows.
    """
    if single():
        return rows
    gathered: Tensor = _Gather.apply(rows)
    return gathered


def gather_rows(rows: list[Any]) -> list[Any]:
    """Python objects of all processes, in the processes' order."""
    gathered: list[Any] = gather_object(rows)
    return gathered


def check_same(what: str, value: Any) -> None:
    """Raises ProcessError where the processes do not have the same `value`; `what` names it in the message."""
    for other, other_value in enumerate(gather_rows([value])):
        if other_value != value:
            raise ProcessError(
                f"Process {number()[0]} has other {what} than process {other}; give every machine the same."
            )


@contextmanager
def one_for_all() -> Iterator[None]:
    """Turns the error of a process whose partner has gone into a sentence. Raises ProcessError."""
    try:
        yield
    except (dist.DistError, RuntimeError) as error:
        _, processes = number()
        gone = isinstance(error, dist.DistError) or "gloo" in str(error).lower() or "peer" in str(error)
        if processes == 1 or not gone:
            raise
        log.debug("lost a process", exc_info=error)
        raise ProcessError(
            f"It stops, because another of the {processes} has gone, whose own message says why; start all again with "
            "--resume."
        ) from error
