"""What a network says of some crops, whichever runtime computes it."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float, UInt8

from cilf.errors import WeightsError

TOLERANCE = 1e-3  # years, by which rounding may carry an age out of the range

Array = np.ndarray


@dataclass(frozen=True)
class CropOutputs:
    """A network's outputs for B crops; K ages, embeddings of width D.

    Attributes:
        embedding: (B, D) image embedding, unit length.
        logits: (B, K) log-probabilities of the whole ages up to a constant.
        age, spread: (B,) location and standard deviation in years as the age head says them.
        parts: (B, P, K) logits of what P parts of the network say by themselves (`cilf.model.base.Description`).
        relevance: (B, H, W), how much each grid cell counts for the estimate.
    """

    embedding: Float[Array, "batch embed"]
    logits: Float[Array, "batch age"]
    age: Float[Array, " batch"]
    spread: Float[Array, " batch"]
    parts: Float[Array, "batch part age"]
    relevance: Float[Array, "batch rows columns"]


Network = Callable[[UInt8[Array, "batch side side 3"]], CropOutputs]
"""RGB crops → outputs. Made by `cilf.inference.onnx_runtime` and `cilf.model.runtime`."""


def require_numbers(outputs: CropOutputs) -> None:
    """Raise WeightsError where an output is no number, or an age out of range: it would pass for an estimate."""
    if not all(np.isfinite(getattr(outputs, each.name)).all() for each in fields(outputs)):
        raise WeightsError("the weights give ages that are no numbers; they are damaged: load others")
    last = outputs.logits.shape[1] - 1
    if not ((outputs.age > -TOLERANCE) & (outputs.age < last + TOLERANCE)).all():
        raise WeightsError(f"the weights give ages outside the range of 0 to {last} years; load others")
