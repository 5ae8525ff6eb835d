"""Reading the weights out of a `.tflite` file: the few fields of TensorFlow Lite's schema that this takes.

Field numbers and codes: tensorflow/compiler/mlir/lite/schema/schema.fbs.
"""

from typing import Any

import numpy as np
from flatbuffers import encode
from flatbuffers.number_types import Int8Flags, Int32Flags, Uint8Flags, Uint32Flags, UOffsetTFlags
from flatbuffers.table import Table

_CONVOLUTION, _DEPTHWISE, _DEQUANTIZE = 3, 4, 6  # BuiltinOperator
_TYPES = {0: np.float32, 1: np.float16}  # TensorType
_IDENTIFIER = b"TFL3"


def convolution_weights(model: bytes) -> list[tuple[np.ndarray, np.ndarray]]:
    """Kernel and bias of each convolution, in the order in which the model computes them.

    Args:
        model: content of a `.tflite` file with weights in 32-bit or 16-bit floats.

    Returns:
        For each convolution, float32 arrays: kernel (out, in, height, width), where a depthwise kernel has in = 1, and
        bias (out,).

    Raises:
        ValueError: the content is not such a file.
    """
    if model[4:8] != _IDENTIFIER:
        raise ValueError("the content is not a TensorFlow Lite model")
    try:
        return _weights(bytearray(model))
    except Exception as error:  # a damaged offset ends in one of many kinds of errors
        raise ValueError("the TensorFlow Lite model is damaged") from error


def _weights(model: bytearray) -> list[tuple[np.ndarray, np.ndarray]]:
    root = Table(model, encode.Get(UOffsetTFlags.packer_type, model, 0))
    codes = [max(_number(code, 0, Int8Flags), _number(code, 3, Int32Flags)) for code in _tables(root, 1)]
    graph = _tables(root, 2)[0]
    tensors, buffers = _tables(graph, 0), _tables(root, 4)
    operators = [
        (codes[_number(each, 0, Uint32Flags)], _vector(each, 1), _vector(each, 2))
        for each in _tables(graph, 3)
    ]
    stored = {int(outputs[0]): int(inputs[0]) for code, inputs, outputs in operators if code == _DEQUANTIZE}

    def values(index: int) -> np.ndarray:
        tensor = tensors[stored.get(index, index)]
        data = _vector(buffers[_number(tensor, 2, Uint32Flags)], 0, Uint8Flags)
        kind = _TYPES[_number(tensor, 1, Int8Flags)]
        return np.frombuffer(data.tobytes(), kind).reshape(_vector(tensor, 0)).astype(np.float32)

    weights = []
    for code, inputs, _ in operators:
        if code in (_CONVOLUTION, _DEPTHWISE):
            kernel, bias = values(int(inputs[1])), values(int(inputs[2]))
            # Stored as (out, height, width, in) and, depthwise, as (1, height, width, out).
            order = (0, 3, 1, 2) if code == _CONVOLUTION else (3, 0, 1, 2)
            weights.append((kernel.transpose(order), bias))
    return weights


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
