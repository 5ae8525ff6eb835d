"""A trained network, computed by ONNX Runtime where its checkpoint brings a graph, and by PyTorch where it does not.

A small network's many operations take PyTorch little time beside the calls between them; ONNX Runtime fuses and plans
them once. What that brings: `pytest tests/benchmarks/test_speed.py -s`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnxruntime
import torch
from jaxtyping import Float
from torch import Tensor, nn

from cilf.errors import WeightsError
from cilf.model.base import AgeModel, Description
from cilf.model.folding import fold_batch_norm
from cilf.model.head import AgeEstimate

Network = Callable[[Float[Tensor, "batch 3 height width"], Float[Tensor, "age embed"]], Description]
"""RGB crops with values in [0, 1] and the result of `AgeModel.encode_ages` → what `AgeModel.describe` says."""

PIXELS, AGE_TEXT = "pixels", "age_text"  # the graph's inputs
ESTIMATE = ("logits", "probabilities", "age", "spread", "entropy")
OUTPUTS = ("embedding", *ESTIMATE, "relevance", "parts")

onnxruntime.disable_telemetry_events()  # which on Windows the system may collect


@dataclass(frozen=True)
class Graph:
    """The operations of `Described`, without the weights.

    Attributes:
        onnx: a model in ONNX's binary form, whose weights are declared to lie elsewhere.
        weights: their names, as in the state dict of `Described`.
    """

    onnx: bytes
    weights: tuple[str, ...]


class Described(nn.Module):
    """What a graph computes: `AgeModel.describe` as tensors in the order of `OUTPUTS`."""

    def __init__(self, model: AgeModel, *, mirror: bool) -> None:
        super().__init__()
        self.model = model
        self.mirror = mirror

    def forward(
        self, pixels: Float[Tensor, "batch 3 height width"], age_text: Float[Tensor, "age embed"]
    ) -> tuple[Tensor, ...]:
        """See `AgeModel.describe`."""
        description = self.model.describe(pixels, age_text, mirror=self.mirror)
        estimate = (getattr(description.estimate, name) for name in ESTIMATE)
        return description.embedding, *estimate, description.relevance, description.parts


def network(model: AgeModel, graph: Graph | None, device: torch.device, *, mirror: bool) -> Network:
    """The quickest way to compute what `model.describe` says.

    Args:
        model: in eval mode, on the CPU; it moves to the device, and its batch normalisation is folded, for good.
        graph: made from such a model with the same `mirror` (`train.release.onnx_export`). It is for the CPU;
        elsewhere PyTorch
            computes, as it does without a graph.
        device: where to compute.
        mirror: see `AgeModel.describe`.

    Raises:
        WeightsError: the graph is none, or of another network.
    """
    fold_batch_norm(model)  # before the move, since a device that is only lent is not there yet
    if graph is None or device.type != "cpu":
        model.to(device).to(memory_format=torch.channels_last)  # as crops lie in memory
        return partial(model.describe, mirror=mirror)
    return GraphNetwork(graph, Described(model, mirror=mirror))


class GraphNetwork:
    """A graph with its weights, on the CPU; may be shared between threads.

    Each call computes on the thread that makes it: the detector, PyTorch and other visitors' photos have a use for the
    other processors.

    Raises:
        WeightsError: the graph is none, or of another network.
    """

    def __init__(self, graph: Graph, described: Described) -> None:
        tensors = described.state_dict()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4  # only what is fatal; errors are raised
        try:
            weights = [tensors[name].contiguous().numpy() for name in graph.weights]
            options.add_external_initializers(
                list(graph.weights), list(map(onnxruntime.OrtValue.ortvalue_from_numpy, weights))
            )
            self._session = onnxruntime.InferenceSession(graph.onnx, options, ["CPUExecutionProvider"])
        except (
            Exception
        ) as error:  # ONNX Runtime has a kind of exception for everything that it may find wrong
            raise WeightsError(
                "the graph beside the weights is of another network; write it again with `python -m train export`"
            ) from error
        self._inputs = {each.name for each in self._session.get_inputs()}
        self._outputs = [each.name for each in self._session.get_outputs()]

    def __call__(
        self, pixels: Float[Tensor, "batch 3 height width"], age_text: Float[Tensor, "age embed"]
    ) -> Description:
        """See `AgeModel.describe`."""
        given = {PIXELS: np.ascontiguousarray(pixels.numpy()), AGE_TEXT: age_text.numpy()}
        values = self._session.run(self._outputs, {name: given[name] for name in self._inputs})
        results = dict(zip(self._outputs, map(torch.from_numpy, values), strict=True))
        estimate = AgeEstimate(*(results[name] for name in ESTIMATE))
        # A graph from before there were parts gives none.
        parts = results.get("parts", estimate.logits.unsqueeze(1))
        return Description(results["embedding"], estimate, parts, results["relevance"])
