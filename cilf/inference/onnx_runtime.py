"""A trained network, computed by ONNX Runtime where its checkpoint brings a graph.

A small network's many operations take PyTorch little time beside the calls between them; ONNX Runtime fuses and plans
them once. What that brings: `pytest tests/benchmarks/test_speed.py -s`.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
import onnxruntime
from jaxtyping import Float, UInt8

from cilf.child_process import available_processors
from cilf.errors import WeightsError
from cilf.face.idle_threads import IdleThreads
from cilf.inference.outputs import CropOutputs

Array = np.ndarray

PIXELS, AGE_TEXT = "pixels", "age_text"  # the graph's inputs
ESTIMATE = ("logits", "probabilities", "age", "spread", "entropy")
OUTPUTS = ("embedding", *ESTIMATE, "relevance", "parts")

MEAN = ".running_mean"  # by which a batch normalisation is known
EPSILON, EPSILON_TF = 1e-5, 1e-3  # of timm's batch normalisations, and of those that it has from TensorFlow

onnxruntime.disable_telemetry_events()  # which on Windows the system may collect


@dataclass(frozen=True)
class Graph:
    """The operations of `train.release.onnx_export.Described`, without the weights.

    Attributes:
        onnx: a model in ONNX's binary form, whose weights are declared to lie elsewhere. It may hold the ages' texts,
            as what their input is where none is given.
        weights: their names, as in the state dict of `Described` after its batch normalisations were folded.
    """

    onnx: bytes
    weights: tuple[str, ...]


class GraphNetwork:
    """A graph with its weights, on the CPU; may be shared between threads.

    Several crops are shared out to the threads that have nothing else to do; one crop is quickest on one thread.

    Args:
        graph: the operations.
        tensors: of its checkpoint, by name, single precision.
        trunk: timm's name of the image network (`_folded`).
        encode_ages: gives the ages' texts of unit length, (K, D), to a graph that does not hold them; None for a
            network without prompts.

    Raises:
        WeightsError: the graph is none, or of another network.
    """

    def __init__(
        self,
        graph: Graph,
        tensors: Mapping[str, Array],
        trunk: str,
        encode_ages: Callable[[], Float[Array, "age embed"] | None],
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4  # only what is fatal; errors are raised
        try:
            weights = _folded(tensors, graph.weights, trunk)
            values = [np.require(weights[name], requirements="C") for name in graph.weights]
            options.add_external_initializers(
                list(graph.weights), list(map(onnxruntime.OrtValue.ortvalue_from_numpy, values))
            )
            self._session = onnxruntime.InferenceSession(graph.onnx, options, ["CPUExecutionProvider"])
            shapes = {each.name: each.shape for each in self._session.get_inputs()}
            self._age_text = {}
            if AGE_TEXT in shapes:
                ages = encode_ages()
                none = np.zeros((0, shapes[AGE_TEXT][1]), np.float32)
                self._age_text = {AGE_TEXT: none if ages is None else ages}
        except (
            Exception
        ) as error:  # ONNX Runtime has a kind of exception for everything that it may find wrong
            raise WeightsError(
                "the graph beside the weights is of another network; write it again with `python -m train export`"
            ) from error
        names = {each.name for each in self._session.get_outputs()}
        self._threads = IdleThreads(available_processors() - 1)
        self._outputs = [each.name for each in fields(CropOutputs) if each.name in names]

    def __call__(self, crops: UInt8[Array, "batch side side 3"]) -> CropOutputs:
        """See `cilf.model.base.AgeModel.describe`."""
        parts = np.array_split(crops, max(1, min(available_processors(), len(crops))))
        beside = [self._threads.beside(partial(self._run, part)) for part in parts[1:]]
        outputs = [self._run(parts[0])]
        outputs += [wait() if wait else self._run(part) for wait, part in zip(beside, parts[1:], strict=True)]
        values = [np.concatenate(each) for each in zip(*outputs, strict=True)]
        results = dict(zip(self._outputs, values, strict=True))
        # A graph from before there were parts gives none.
        results.setdefault("parts", results["logits"][:, None])
        return CropOutputs(**results)

    def _run(self, crops: UInt8[Array, "batch side side 3"]) -> list[Array]:
        values: list[Array] = self._session.run(self._outputs, {PIXELS: pixels(crops)} | self._age_text)
        return values


def pixels(crops: UInt8[Array, "batch side side 3"]) -> Float[Array, "batch 3 side side"]:
    """RGB crops as networks take them: values in [0, 1], channels first."""
    return np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32) / np.float32(255)


def _folded(
    tensors: Mapping[str, Array], names: Sequence[str], trunk: str
) -> dict[str, Float[Array, "*any"]]:
    """The weights of a graph, whose batch normalisations are folded into the convolutions before them.

    Convolutions that the graph gives a bias, and the checkpoint none, had a normalisation behind them; so had all of a
    module in which each has a bias of its own (a stem of plain convolutions), if as many normalisations are missing.
    Among those of one module the first belongs to the first, and so on: both lie in the order of computation.

    Args:
        tensors: the checkpoint's.
        names: the graph's, in the order of the network's modules.
        trunk: timm's name of the image network, which tells its normalisations' ε.
    """
    weights = {name: tensors[name] for name in names if name in tensors}
    for convolution, norm in _pairs(tensors, names):
        epsilon = EPSILON_TF if trunk.startswith("tf_") and ".trunk." in norm else EPSILON
        mean, variance, scale, shift = (
            tensors[f"{norm}.{kind}"] for kind in ("running_mean", "running_var", "weight", "bias")
        )
        factor = scale / np.sqrt(variance + np.float32(epsilon))
        weights[f"{convolution}.weight"] = tensors[f"{convolution}.weight"] * factor[:, None, None, None]
        own = tensors.get(f"{convolution}.bias", np.float32(0))
        weights[f"{convolution}.bias"] = shift + (own - mean) * factor
    return weights


def _pairs(tensors: Mapping[str, Array], names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Convolutions and the batch normalisations that are folded into them."""
    biased = [name.removesuffix(".bias") for name in names if name.endswith(".bias")]
    bare = [name for name in biased if f"{name}.bias" not in tensors]
    norms = [name.removesuffix(MEAN) for name in tensors if name.endswith(MEAN) and name not in names]
    norms.sort(key=lambda name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)])
    for parent in dict.fromkeys(map(_parent, norms)):
        group = [name for name in bare if _parent(name) == parent]
        group = group or [
            name for name in biased if _parent(name) == parent and f"{name}{MEAN}" not in tensors
        ]
        yield from zip(group, [norm for norm in norms if _parent(norm) == parent], strict=True)


def _parent(name: str) -> str:
    return name.rpartition(".")[0]
