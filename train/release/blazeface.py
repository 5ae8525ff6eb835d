"""BlazeFace short range as an ONNX graph for views of any size, from MediaPipe's file of it.

Layers and weights as in `face_detection_short_range.tflite`, which fixes the number of views and their sides; here both
are left open. `cilf.face.blazeface` loads the graph.
"""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cilf.face.blazeface import OUTPUTS, VIEWS
from train.release.tflite import convolution_weights

# Channels of all layers are filled up with zeros to a multiple of this, for which ONNX Runtime has its fastest
# convolutions: 1.1 ms instead of 1.8 for one view of 128 x 128.
CHANNEL_BLOCK = 16

_HEADS = 4  # convolutions that give the outputs, the last ones in the file: scores, then boxes

# Stride of each block: a depthwise and a pointwise convolution, with the block's input added.
_STRIDES = (1, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)
_FINE = 10  # the block whose output, the last one at a stride of 8 pixels, goes to the first heads


def graph(model: bytes) -> bytes:
    """The graph in ONNX's binary form, with the weights of `model`, the content of MediaPipe's file.

    Raises:
        ValueError: `model` is not a `.tflite` file.
    """
    return _Writer(named_weights(model)).written()


def named_weights(model: bytes) -> dict[str, np.ndarray]:
    """The graph's weights by name, with channels filled up to `CHANNEL_BLOCK`.

    `kernel_i` and `bias_i` are those of the i-th convolution; `widen_c` maps c channels to themselves and CHANNEL_BLOCK
    more, which stay zero.

    Raises:
        ValueError: `model` is not a `.tflite` file.
    """
    weights: dict[str, np.ndarray] = {}
    convolutions = convolution_weights(model)
    for index, (kernel, bias) in enumerate(convolutions):
        outputs, inputs = kernel.shape[:2]
        if index < len(convolutions) - _HEADS:
            outputs = _filled_up(outputs)
        if index > 0 and inputs > 1:  # neither the picture's three channels nor a depthwise kernel's one
            inputs = _filled_up(inputs)
        missing = (outputs - kernel.shape[0], inputs - kernel.shape[1])
        weights[f"kernel_{index}"] = np.pad(kernel, ((0, missing[0]), (0, missing[1]), (0, 0), (0, 0)))
        weights[f"bias_{index}"] = np.pad(bias, (0, missing[0]))
    for channels in (32, 48, 64, 80):
        identity = np.eye(channels + CHANNEL_BLOCK, channels, dtype=np.float32)
        weights[f"widen_{channels}"] = identity[:, :, None, None]
    return weights


def _filled_up(channels: int) -> int:
    return -(-channels // CHANNEL_BLOCK) * CHANNEL_BLOCK


class _Writer:
    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._channels: dict[str, int] = {}
        self._convolutions = 0

    def written(self) -> bytes:
        stored = [
            numpy_helper.from_array(_halved(value), f"{name}_16") for name, value in self._weights.items()
        ]
        for name in self._weights:
            self._add("Cast", [f"{name}_16"], name, to=TensorProto.FLOAT)
        value = self._convolution(self._normalised(), stride=2)
        value = self._rectified(value, self._channels[value])
        fine = ""
        for index, stride in enumerate(_STRIDES):
            value = self._block(value, stride)
            if index == _FINE:
                fine = value
        # In the file, the heads' scores come before the boxes, each for the fine grid first.
        scores_8, boxes_8, scores_16, boxes_16 = OUTPUTS
        for source, output in ((fine, scores_8), (value, scores_16), (fine, boxes_8), (value, boxes_16)):
            self._convolution(source, output=output)
        made = helper.make_graph(
            self._nodes,
            "blazeface_short_range",
            [helper.make_tensor_value_info(VIEWS, TensorProto.UINT8, ["views", "height", "width", 3])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in OUTPUTS],
            stored,
        )
        opsets = [helper.make_opsetid("", 17)]
        return bytes(helper.make_model(made, opset_imports=opsets, ir_version=8).SerializeToString())

    def _normalised(self) -> str:
        """RGB from 0..255 to -1..1, channels first."""
        value = self._add("Transpose", [VIEWS], perm=[0, 3, 1, 2])
        value = self._add("Cast", [value], to=TensorProto.FLOAT)
        for operation, number in (("Div", 127.5), ("Sub", 1.0)):
            constant = self._add("Constant", [], value_float=number)
            value = self._add(operation, [value, constant])
        return value

    def _block(self, source: str, stride: int) -> str:
        value = self._convolution(self._convolution(source, stride))
        channels, wider = self._channels[source], self._channels[value]
        if stride > 1:
            source = self._add("MaxPool", [source], kernel_shape=[stride] * 2, strides=[stride] * 2)
        if wider > channels:  # the new channels are zero; a Pad would cost a change of memory layout
            source = self._add("Conv", [source, f"widen_{channels}"], kernel_shape=[1, 1])
        return self._rectified(self._add("Add", [value, source]), wider)

    def _convolution(self, source: str, stride: int = 1, output: str | None = None) -> str:
        kernel, bias = (f"{kind}_{self._convolutions}" for kind in ("kernel", "bias"))
        outputs, inputs, height, width = self._weights[kernel].shape
        depthwise = inputs == 1
        self._convolutions += 1
        value = self._add(
            "Conv",
            [source, kernel, bias],
            output,
            kernel_shape=[height, width],
            strides=[stride] * 2,
            group=outputs if depthwise else 1,
            auto_pad="SAME_UPPER",
        )
        self._channels[value] = outputs
        return value

    def _rectified(self, source: str, channels: int) -> str:
        value = self._add("Relu", [source])
        self._channels[value] = channels
        return value

    def _add(self, operation: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        output = output or f"{operation.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operation, inputs, [output], **attributes))
        return output


def _halved(weights: np.ndarray) -> np.ndarray:
    """The weights in 16 bits, as MediaPipe's file stores them: nothing is lost, and loading widens them.

    Raises:
        ValueError: they do not fit.
    """
    halved = weights.astype(np.float16)
    if not np.array_equal(halved, weights):
        raise ValueError("the model's weights are not 16-bit floats")
    return halved
