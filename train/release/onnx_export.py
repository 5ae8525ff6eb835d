"""From a checkpoint's network to the graph that ONNX Runtime computes (`cilf.inference.onnx_runtime`).

The graph holds no weights: they stay in the checkpoint's one file. What depends on them in a checkpoint's own graph are
the ages' texts (`with_ages`).
"""

from dataclasses import replace
from pathlib import Path

import onnx
import onnx_ir
import torch
from jaxtyping import Float
from onnx_ir.passes import Sequential
from onnx_ir.passes.common import ClearMetadataAndDocStringPass, RemoveUnusedNodesPass
from onnxscript.optimizer import fold_constants
from torch import Tensor, nn

from cilf.checkpoint import add_graph, load
from cilf.inference.onnx_runtime import AGE_TEXT, ESTIMATE, OUTPUTS, PIXELS, Graph
from cilf.model.base import AgeModel
from cilf.model.folding import fold_batch_norm
from train.release.graph_forms import to_graph_forms

ANY = 10**9  # elements: constants are folded whatever their size


def export(folder: Path) -> None:
    """Put the graph of its network beside a checkpoint's weights. Raises WeightsError."""
    checkpoint = load(folder)
    made = graph(checkpoint.model, mirror=checkpoint.config.mirror)
    with torch.no_grad():
        add_graph(folder, with_ages(made, checkpoint.model.encode_ages()))


def with_ages(made: Graph, age_text: Float[Tensor, "age embed"]) -> Graph:
    """The graph with the ages' texts in the place of their input: half a second less at each start, and what follows
    from them alone is computed once."""
    if not len(age_text):
        return made
    model = onnx.load_model_from_string(made.onnx)
    [given] = (each for each in model.graph.input if each.name == AGE_TEXT)
    model.graph.input.remove(given)
    model.graph.initializer.append(onnx.numpy_helper.from_array(age_text.numpy(), AGE_TEXT))
    return replace(made, onnx=model.SerializeToString())


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


@torch.no_grad()
def graph(model: AgeModel, *, mirror: bool) -> Graph:
    """The graph of a model in eval mode on the CPU, for any number of crops; the model itself is changed for good."""
    fold_batch_norm(model)
    described = Described(model, mirror=mirror).eval()
    inputs = torch.rand(2, 3, model.image_size, model.image_size), model.encode_ages()
    to_graph_forms(described, *inputs)
    program = torch.onnx.export(
        described,
        inputs,
        input_names=[PIXELS, AGE_TEXT],
        output_names=OUTPUTS,
        dynamic_shapes=({0: torch.export.Dim("batch")}, None),
        dynamo=True,
        optimize=False,  # it would compute new weights from the old ones
        verbose=False,
    )
    assert program is not None
    return _without_weights(program.model, set(described.state_dict()))


def _without_weights(made: onnx_ir.Model, names: set[str]) -> Graph:
    """A model whose weights have these names: with constants computed, where no weight goes into them."""
    [pixels] = (each for each in made.graph.inputs if each.name == PIXELS)
    # PyTorch fixes a size without a word where something in the network asks for its value.
    assert pixels.shape is not None
    assert not isinstance(pixels.shape[0], int), "the graph would take this number of crops alone"
    fold_constants(
        made,
        input_size_limit=ANY,
        output_size_limit=ANY,
        should_fold=lambda node: False if names & {each.name for each in node.inputs if each} else None,
    )
    Sequential(RemoveUnusedNodesPass(), ClearMetadataAndDocStringPass())(made)
    weights = tuple(name for name in made.graph.initializers if name in names)
    for name in weights:
        value = made.graph.initializers[name]
        assert value.dtype is not None
        assert value.shape is not None
        value.const_value = onnx_ir.ExternalTensor(
            "given", 0, None, value.dtype, shape=value.shape, name=name
        )
    return Graph(onnx_ir.to_proto(made).SerializeToString(), weights)
