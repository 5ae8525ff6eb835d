"""Do the weights of a checkpoint fit its configuration? Compared by shapes alone, before anything is allocated."""

import math
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from cilf.errors import DamagedError, WeightsError
from cilf.inference.earlier import with_padded_shapes
from cilf.inference.error_models import EnsembleConfig, layer_shapes
from cilf.inference.familiarity import FamiliarityConfig
from cilf.model.build import build
from cilf.model.registry import AnyConfig

MAX_PARAMETERS = 500_000_000  # the largest CLIP that is commonly used, ViT-L/14, has 428 million

Shapes = dict[str, tuple[int, ...]]


def require_fit(
    path: Path,
    model: AnyConfig,
    ensemble: EnsembleConfig | None,
    familiarity: FamiliarityConfig,
) -> None:
    """Compare the header of a weights file with what the configuration beside it asks for.

    Raises:
        WeightsError: there is no such network, the weights are of another, or too many.
    """
    shapes = _read_shapes(path)
    if sum(map(math.prod, shapes.values())) > MAX_PARAMETERS:
        raise WeightsError(f"'{path}' holds more than {MAX_PARAMETERS:,} numbers; load another checkpoint")
    try:
        with torch.device("meta"):  # tensors without memory
            state = build(model).state_dict()
    except Exception as error:  # whatever a strange architecture sets off in open_clip or timm
        raise WeightsError(
            f"the configuration beside '{path}' describes no model that can be built; load another checkpoint"
        ) from error
    expected = {f"model.{name}": tuple(value.shape) for name, value in state.items()}
    if ensemble is not None:
        shapes = shapes if ensemble.explicit else with_padded_shapes(shapes, ensemble)
        for name, (members, inputs, outputs) in layer_shapes(ensemble).items():
            expected[f"ensemble.{name}.weight"] = (members, inputs, outputs)
            expected[f"ensemble.{name}.bias"] = (members, 1, outputs)
    if familiarity.photos:
        expected["familiarity.reference"] = (familiarity.photos, familiarity.embed_dim)
    if shapes != expected:
        raise WeightsError(f"'{path}' does not fit the configuration beside it; load another checkpoint")


def _read_shapes(path: Path) -> Shapes:
    if not path.is_file():
        raise WeightsError(f"'{path}' is missing; load another checkpoint")
    try:
        with safe_open(path, "numpy") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DamagedError(f"'{path}' is damaged or of another checkpoint; fetch it again", path) from error
