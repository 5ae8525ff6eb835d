"""Reading a `.tflite` file: the few fields of TensorFlow Lite's schema that MediaPipe's networks for faces take.

Field numbers and codes: tensorflow/compiler/mlir/lite/schema/schema.fbs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flatbuffers import encode
from flatbuffers.number_types import Int8Flags, Int32Flags, Uint8Flags, Uint32Flags, UOffsetTFlags
from flatbuffers.table import Table

# BuiltinOperator
_DEQUANTIZE = 6
_KINDS = {0: "add", 3: "convolution", 4: "depthwise", 17: "max_pool", 34: "pad", 54: "prelu"}

_CONSTANTS = {"convolution": 2, "depthwise": 2, "pad": 1, "prelu": 1}  # how many of the inputs, the last ones
_TYPES = {0: np.float32, 1: np.float16, 2: np.int32}  # TensorType
_IDENTIFIER = b"TFL3"


@dataclass(frozen=True, eq=False)
class Operator:
    """One operator of a model.

    Attributes:
        kind: "add", "convolution", "depthwise", "max_pool", "pad", "prelu", or "other".
        inputs: indices of the tensors that are computed.
        output: index of the first tensor that it gives.
        constants: what follows the computed inputs, as float32: kernel (out, in, height, width), where a depthwise one
            has in = 1, and bias (out,) of a convolution; slopes of a PReLU; how far a pad goes, (axis, 2).
        stride: in pixels, of a convolution or a pool, else 1; as wide as high.
        same: whether such a one pads at the borders, so that the output has the input's side divided by the stride.
        window: side of a pool.
    """

    kind: str
    inputs: tuple[int, ...]
    output: int
    constants: tuple[np.ndarray, ...] = ()
    stride: int = 1
    same: bool = False
    window: int = 1


@dataclass(frozen=True, eq=False)
class Model:
    """The operators of a model in the order in which it computes them, and the tensors it takes and gives."""

    operators: Sequence[Operator]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_model(content: bytes) -> Model:
    """Read a `.tflite` file with weights in 32-bit or 16-bit floats.

    Raises:
        ValueError: the content is not such a file.
    """
    if content[4:8] != _IDENTIFIER:
        raise ValueError("the content is not a TensorFlow Lite model")
    try:
        return _Reader(bytearray(content)).read()
    except Exception as error:  # a damaged offset ends in one of many kinds of errors
        raise ValueError("the TensorFlow Lite model is damaged") from error


def convolution_weights(content: bytes) -> list[tuple[np.ndarray, np.ndarray]]:
    """Kernel and bias of each convolution, as in `Operator.constants`, in the order in which the model computes them.

    Raises:
        ValueError: the content is not a `.tflite` file.
    """
    weights = []
    for operator in read_model(content).operators:
        if operator.kind in ("convolution", "depthwise"):
            kernel, bias = operator.constants
            weights.append((kernel, bias))
    return weights


def halved(weights: np.ndarray) -> np.ndarray:
    """Weights in 16 bits, as MediaPipe's files store them: nothing is lost, and loading widens them.

    Raises:
        ValueError: they do not fit.
    """
    rounded = weights.astype(np.float16)
    if not np.array_equal(rounded, weights):
        raise ValueError("the model's weights are not 16-bit floats")
    return rounded


class _Reader:
    def __init__(self, content: bytearray) -> None:
        root = Table(content, encode.Get(UOffsetTFlags.packer_type, content, 0))
        self._codes = [
            max(_number(code, 0, Int8Flags), _number(code, 3, Int32Flags)) for code in _tables(root, 1)
        ]
        self._graph = _tables(root, 2)[0]
        self._tensors, self._buffers = _tables(self._graph, 0), _tables(root, 4)
        self._widened: dict[int, int] = {}  # tensor in 32 bits → the stored one in 16

    def read(self) -> Model:
        operators = []
        for table in _tables(self._graph, 3):
            code = self._codes[_number(table, 0, Uint32Flags)]
            inputs, outputs = (_indices(table, field) for field in (1, 2))
            if code == _DEQUANTIZE:
                self._widened[outputs[0]] = inputs[0]
            else:
                operators.append(self._operator(table, _KINDS.get(code, "other"), inputs, outputs[0]))
        return Model(operators, _indices(self._graph, 1), _indices(self._graph, 2))

    def _operator(self, table: Table, kind: str, inputs: tuple[int, ...], output: int) -> Operator:
        computed = len(inputs) - _CONSTANTS.get(kind, 0)
        constants = [self._values(index) for index in inputs[computed:]]
        if kind in ("convolution", "depthwise"):
            # Stored as (out, height, width, in) and, depthwise, as (1, height, width, out).
            constants[0] = constants[0].transpose((0, 3, 1, 2) if kind == "convolution" else (3, 0, 1, 2))
        if kind not in ("convolution", "depthwise", "max_pool"):
            return Operator(kind, inputs[:computed], output, tuple(constants))
        options = Table(table.Bytes, table.Indirect(_place(table, 4) + table.Pos))
        return Operator(
            kind,
            inputs[:computed],
            output,
            tuple(constants),
            stride=_number(options, 1, Int32Flags),
            same=_number(options, 0, Int8Flags) == 0,
            window=_number(options, 3, Int32Flags) if kind == "max_pool" else 1,
        )

    def _values(self, index: int) -> np.ndarray:
        tensor = self._tensors[self._widened.get(index, index)]
        data = _vector(self._buffers[_number(tensor, 2, Uint32Flags)], 0, Uint8Flags)
        kind = _TYPES[_number(tensor, 1, Int8Flags)]
        return np.frombuffer(data.tobytes(), kind).reshape(_vector(tensor, 0)).astype(np.float32)


def _indices(table: Table, field: int) -> tuple[int, ...]:
    return tuple(_vector(table, field).tolist())


def _tables(table: Table, field: int) -> list[Table]:
    place = _place(table, field)
    start = table.Vector(place)
    return [Table(table.Bytes, table.Indirect(start + 4 * index)) for index in range(table.VectorLen(place))]


def _vector(table: Table, field: int, kind: Any = Int32Flags) -> np.ndarray:
    return np.asarray(table.GetVectorAsNumpy(kind, _place(table, field)))


def _number(table: Table, field: int, kind: Any) -> int:
    place = _place(table, field)
    return int(table.Get(kind, place + table.Pos)) if place else 0


def _place(table: Table, field: int) -> int:
    return int(table.Offset(4 + 2 * field))
