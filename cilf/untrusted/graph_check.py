"""Is a graph of the kind that our exports are? One of another kind could run for ever, or read files of this machine.

ONNX Runtime computes whatever a graph says: loops, conditions, and tensors that it reads from any file. A graph of ours
is a sequence of plain operations whose weights are given in memory.
"""

from collections.abc import Iterator
from typing import Any

from cilf.errors import WeightsError
from cilf.inference.onnx_runtime import Graph

MAX_GRAPH_BYTES = 16 * 2**20  # thirty times the bundled ones
# Those of `train.release.onnx_export`, and what attention of a vision transformer adds. None of them holds a graph.
OPERATORS = frozenset(
    "Abs Add And ArgMax AveragePool BatchNormalization Cast CastLike Clip Concat Constant Conv Div Einsum Erf "
    "Exp Expand Flatten Gather GatherElements GatherND Gelu Gemm GlobalAveragePool Greater GreaterOrEqual "
    "Identity LayerNormalization LeakyRelu Log LogSoftmax MatMul Max MaxPool Min Mul Neg Pad Pow ReduceL2 "
    "ReduceMax ReduceMean ReduceSum Relu Reshape Resize Round Shape Sigmoid Slice Softmax Softplus Split Sqrt "
    "Squeeze Sub Tanh TopK Transpose Unsqueeze Where".split()
)


def check_graph(graph: Graph) -> None:
    """Raise WeightsError unless the graph holds listed operators alone and no tensor from a file but its weights."""
    import onnx  # the bundled graphs do without

    if len(graph.onnx) > MAX_GRAPH_BYTES:
        raise WeightsError(f"the graph has more than {MAX_GRAPH_BYTES:,} bytes; load another checkpoint")
    try:
        model = onnx.load_model_from_string(graph.onnx)
    except Exception as error:  # protobuf has its own exceptions, several of them
        raise WeightsError(
            "the graph beside the weights is not an ONNX graph; load another checkpoint"
        ) from error
    for part in _foreign(model, set(graph.weights)):
        raise WeightsError(
            f"the graph holds what no graph of ours does ({part[:80]}); load another checkpoint"
        )


def _foreign(model: Any, weights: set[str]) -> Iterator[str]:
    """What in an `onnx.ModelProto` is of another kind, in words."""
    import onnx

    if model.functions or model.training_info or model.graph.sparse_initializer:
        yield "functions, training or sparse tensors"
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL and tensor.name not in weights:
            yield f"the tensor '{tensor.name}' from a file"
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            yield f"the operator '{node.op_type}'"
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs or attribute.sparse_tensors:
                yield "a graph inside the graph"
            if any(each.external_data for each in (attribute.t, *attribute.tensors)):
                yield f"a tensor from a file in '{node.op_type}'"
