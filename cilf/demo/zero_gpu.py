"""Hugging Face's ZeroGPU lends a GPU to a Space for one call at a time, through its package `spaces`."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

Work = Callable[..., Any]


def is_here() -> bool:
    """Whether the package `spaces` is installed, as on Spaces; elsewhere nothing is lent."""
    return find_spec("spaces") is not None


def on_gpu(work: Work) -> Work:
    """`work` with a GPU lent for each call where `spaces` is installed, `work` itself elsewhere.

    On ZeroGPU each call runs in a forked process: arguments and results have to be picklable, and MediaPipe, whose
    threads do not survive a fork, must not be used in it.
    """
    if not is_here():
        return work
    import spaces

    return spaces.GPU(work)
