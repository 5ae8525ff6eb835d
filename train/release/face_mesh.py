"""MediaPipe's face mesh as an ONNX graph that gives BlazeFace's points, from MediaPipe's file of it.

Layers and weights as in `face_landmark.tflite`; the number of views is left open, and one matrix follows that takes
weighted sums of the mesh's points. `cilf.face.networks.face_mesh` loads the graph.
"""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cilf.face.networks.face_mesh import OUTPUTS, SIDE
from cilf.face.networks.graph import VIEWS
from train.release.tflite import Model, Operator, halved, read_model

POINTS = 468

_KINDS = {"add", "convolution", "depthwise", "max_pool", "pad", "prelu"}


def graph(model: bytes, weights: np.ndarray) -> bytes:
    """The graph in ONNX's binary form.

    It gives `points`, (view, k, 3): x, y in pixels of the view and depth; and `presence`, (view, 1, 1, 1): a logit.

    Args:
        model: content of MediaPipe's file.
        weights: (k, POINTS), rows that sum to 1: each point that the graph gives as a weighted sum of the mesh's.

    Raises:
        ValueError: `model` is not that file.
    """
    layers = read_model(model)
    if not {each.kind for each in layers.operators} <= _KINDS or len(layers.outputs) != len(OUTPUTS):
        raise ValueError("the model is not MediaPipe's face mesh")
    return _Writer(layers).written(weights)


class _Writer:
    def __init__(self, model: Model) -> None:
        self._model = model
        self._nodes: list[onnx.NodeProto] = []
        self._stored: list[onnx.TensorProto] = []
        self._channels: dict[int, int] = {}  # of each tensor

    def written(self, weights: np.ndarray) -> bytes:
        names = {self._model.inputs[0]: self._normalised()}
        for operator in self._model.operators:
            names[operator.output] = self._operator(operator, [names[each] for each in operator.inputs])
        mesh, presence = (names[each] for each in self._model.outputs)
        self._stored.append(numpy_helper.from_array(np.array([0, POINTS, 3]), "shape"))
        self._stored.append(numpy_helper.from_array(weights.astype(np.float32), "weights"))
        self._add("MatMul", ["weights", self._add("Reshape", [mesh, "shape"])], output=OUTPUTS[0])
        self._add("Identity", [presence], output=OUTPUTS[1])
        made = helper.make_graph(
            self._nodes,
            "face_mesh",
            [helper.make_tensor_value_info(VIEWS, TensorProto.UINT8, ["views", SIDE, SIDE, 3])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in OUTPUTS],
            self._stored,
        )
        opsets = [helper.make_opsetid("", 17)]
        return bytes(helper.make_model(made, opset_imports=opsets, ir_version=8).SerializeToString())

    def _normalised(self) -> str:
        """RGB from 0..255 to 0..1, channels first."""
        value = self._add("Transpose", [VIEWS], perm=[0, 3, 1, 2])
        value = self._add("Cast", [value], to=TensorProto.FLOAT)
        return self._add("Div", [value, self._add("Constant", [], value_float=255.0)])

    def _operator(self, operator: Operator, inputs: list[str]) -> str:
        match operator.kind:
            case "convolution" | "depthwise":
                return self._convolution(operator, inputs)
            case "pad":
                return self._widened(operator, inputs)
        self._channels[operator.output] = self._channels[operator.inputs[0]]
        match operator.kind:
            case "add":
                return self._add("Add", inputs)
            case "max_pool":
                window, stride = [operator.window] * 2, [operator.stride] * 2
                return self._add("MaxPool", inputs, kernel_shape=window, strides=stride)
            case "prelu":
                return self._prelu(operator, inputs)
        raise AssertionError(operator.kind)

    def _convolution(self, operator: Operator, inputs: list[str]) -> str:
        kernel, bias = operator.constants
        self._channels[operator.output] = len(kernel)
        return self._add(
            "Conv",
            [*inputs, self._weights(kernel), self._weights(bias)],
            kernel_shape=list(kernel.shape[2:]),
            strides=[operator.stride] * 2,
            group=len(kernel) if operator.kind == "depthwise" else 1,
            auto_pad="SAME_UPPER" if operator.same else "VALID",
        )

    def _prelu(self, operator: Operator, inputs: list[str]) -> str:
        """a x + (1 - a) max(x, 0), both products as depthwise convolutions of one pixel.

        For them ONNX Runtime keeps its fast memory layout, and PRelu changes it back: 1.8 ms instead of 4.9 for one
        view, with one thread.
        """
        slopes = self._weights(operator.constants[0].reshape(-1, 1, 1, 1))
        rest = self._add("Sub", [self._add("Constant", [], value_float=1.0), slopes])
        channels = operator.constants[0].size
        of_all, of_positive = (
            self._add("Conv", [value, factors], kernel_shape=[1, 1], group=channels)
            for value, factors in ((inputs[0], slopes), (self._add("Relu", inputs), rest))
        )
        return self._add("Add", [of_positive, of_all])

    def _widened(self, operator: Operator, inputs: list[str]) -> str:
        """Further channels of zeros; a Pad would cost a change of memory layout."""
        before, after = operator.constants[0].astype(int)[-1].tolist()
        channels = self._channels[operator.inputs[0]]
        widened = np.zeros((before + channels + after, channels, 1, 1), np.float32)
        self._channels[operator.output] = len(widened)
        widened[before : before + channels, :, 0, 0] = np.eye(channels)
        return self._add("Conv", [*inputs, self._weights(widened)], kernel_shape=[1, 1])

    def _weights(self, values: np.ndarray) -> str:
        name = f"weights_{len(self._stored)}"
        self._stored.append(numpy_helper.from_array(halved(values), f"{name}_16"))
        return self._add("Cast", [f"{name}_16"], output=name, to=TensorProto.FLOAT)

    def _add(self, operation: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        output = output or f"{operation.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operation, inputs, [output], **attributes))
        return output
