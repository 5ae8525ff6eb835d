"""Hugging Face's ZeroGPU lends a GPU to a Space for one call at a time, through its package `spaces`."""

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

Work = Callable[..., Any]


def is_here() -> bool:
    """Whether GPUs are lent: every Space has the package `spaces`, and those on ZeroGPU say so in the environment."""
    return find_spec("spaces") is not None and bool(os.environ.get("SPACES_ZERO_GPU"))


def on_gpu(work: Work) -> Work:
    """`work` with a GPU lent for each call where GPUs are lent, `work` itself elsewhere.

    On ZeroGPU each call runs in a forked process: arguments and results have to be picklable.
    """
    if not is_here():
        return work
    import spaces

    return spaces.GPU(work)
