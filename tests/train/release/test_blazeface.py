"""The packaged graph of the face detector holds MediaPipe's own weights, each exactly."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from cilf.face.blazeface import GRAPH
from tests.face.mediapipe_file import mediapipe_file
from train.release.blazeface import graph
from train.release.tflite import convolution_weights


def stored(content: bytes) -> dict[str, np.ndarray]:
    return {
        each.name: numpy_helper.to_array(each) for each in onnx.load_from_string(content).graph.initializer
    }


def test_the_packaged_graph_is_written_from_mediapipes_file() -> None:
    packaged, written = (
        onnx.load(GRAPH).graph,
        onnx.load_from_string(graph(mediapipe_file().read_bytes())).graph,
    )
    assert list(packaged.node) == list(written.node)
    assert stored(GRAPH.read_bytes()).keys() == {each.name for each in written.initializer}


def test_no_weight_is_changed() -> None:
    weights = stored(GRAPH.read_bytes())
    for index, (kernel, bias) in enumerate(convolution_weights(mediapipe_file().read_bytes())):
        filled = weights[f"kernel_{index}_16"]
        outputs, inputs = kernel.shape[:2]
        np.testing.assert_array_equal(filled[:outputs, :inputs], kernel)
        assert not filled[outputs:].any()
        assert not filled[:, inputs:].any()
        np.testing.assert_array_equal(weights[f"bias_{index}_16"][:outputs], bias)


@pytest.mark.parametrize("content", [b"", b"not a model", bytes(1000)])
def test_a_file_that_is_no_tflite_model_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a TensorFlow Lite model"):
        graph(content)


def test_a_damaged_tflite_model_is_refused() -> None:
    with pytest.raises(ValueError, match="damaged"):
        graph(mediapipe_file().read_bytes()[:100_000])
