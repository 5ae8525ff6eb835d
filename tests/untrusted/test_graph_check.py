"""`cilf.untrusted.graph_check`: our own graphs pass, and one that loops or reads files is refused."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cilf.checkpoint import BUNDLED, GRAPH, bundled, read_config
from cilf.errors import WeightsError
from cilf.inference.onnx_runtime import Graph
from cilf.untrusted.graph_check import MAX_GRAPH_BYTES, check_graph

FLAG = helper.make_tensor_value_info("flag", TensorProto.BOOL, [])
X, Y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")


def graph_of(*nodes: onnx.NodeProto, initializers: tuple[onnx.TensorProto, ...] = ()) -> Graph:
    graph = helper.make_graph(list(nodes), "made", [X], [Y], list(initializers))
    return Graph(helper.make_model(graph).SerializeToString(), ("known",))


def from_file(name: str) -> onnx.TensorProto:
    tensor = numpy_helper.from_array(np.zeros(1, np.float32), name)
    onnx.external_data_helper.set_external_data(tensor, location="secrets.bin")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    return tensor


@pytest.mark.parametrize("name", BUNDLED)
def test_the_bundled_graphs_pass(name: str) -> None:
    config = read_config(bundled(name)).graph
    assert config is not None
    check_graph(Graph((bundled(name) / GRAPH).read_bytes(), config.weights))


def test_so_does_one_whose_weights_are_given() -> None:
    check_graph(graph_of(helper.make_node("Add", ["x", "known"], ["y"]), initializers=(from_file("known"),)))


def loop() -> onnx.NodeProto:
    step = helper.make_node("Identity", ["flag"], ["on"])
    on = helper.make_tensor_value_info("on", TensorProto.BOOL, [])
    count = helper.make_tensor_value_info("count", TensorProto.INT64, [])
    return helper.make_node("Loop", ["", ""], [], body=helper.make_graph([step], "body", [count, FLAG], [on]))


HOSTILE = {
    "Loop": graph_of(loop()),
    "If": graph_of(
        helper.make_node("If", ["flag"], ["y"], then_branch=helper.make_graph([], "then", [], [Y]))
    ),
    "ConstantOfShape": graph_of(helper.make_node("ConstantOfShape", ["x"], ["y"])),
    "Fancy": graph_of(helper.make_node("Fancy", ["x"], ["y"], domain="com.example")),
    "inside": graph_of(
        helper.make_node("Add", ["x"], ["y"], hidden=helper.make_graph([], "hidden", [], [Y]))
    ),
    "from a file": graph_of(helper.make_node("Add", ["x", "s"], ["y"]), initializers=(from_file("s"),)),
    "from a file in 'Constant'": graph_of(helper.make_node("Constant", [], ["y"], value=from_file("s"))),
    "not an ONNX": Graph(b"operations", ()),
    "bytes": Graph(bytes(MAX_GRAPH_BYTES + 1), ()),
}


@pytest.mark.parametrize("sentence", HOSTILE)
def test_another_kind_of_graph_is_refused(
    sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secrets.bin").write_bytes(os.urandom(4))
    with pytest.raises(WeightsError, match=sentence):
        check_graph(HOSTILE[sentence])


def test_functions_are_refused() -> None:
    opset = helper.make_opsetid("", 20)
    function = helper.make_function(
        "local", "f", ["a"], ["b"], [helper.make_node("Neg", ["a"], ["b"])], [opset]
    )
    model = onnx.load_model_from_string(graph_of(helper.make_node("Neg", ["x"], ["y"])).onnx)
    model.functions.append(function)
    with pytest.raises(WeightsError, match="functions"):
        check_graph(Graph(model.SerializeToString(), ()))
