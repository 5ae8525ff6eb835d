"""A network computed by PyTorch: on a GPU, and on the CPU where its checkpoint brings no graph."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from cilf.errors import UsageError
from cilf.inference.outputs import CropOutputs
from cilf.model.base import AgeModel
from cilf.model.folding import fold_batch_norm


class TorchNetwork:
    """A network on its device; see `cilf.inference.outputs.Network`.

    Args:
        model: in eval mode, on the CPU; it moves to the device, and its batch normalisation is folded, for good.
        device: where to compute, as PyTorch names it.
        mirror: see `AgeModel.describe`.

    Raises:
        UsageError: PyTorch does not have the device.
    """

    def __init__(self, model: AgeModel, device: str, *, mirror: bool) -> None:
        self._model, self._device, self._mirror = model, _device(device), mirror
        # Before the move, since a device that is only lent is not there yet.
        with torch.inference_mode():
            self._age_text = model.encode_ages().to(self._device)
        fold_batch_norm(model)
        model.to(self._device).to(memory_format=torch.channels_last)  # as crops lie in memory

    def __call__(self, crops: UInt8[np.ndarray, "batch side side 3"]) -> CropOutputs:
        """See `AgeModel.describe`."""
        return crop_outputs(self._model, crops, self._age_text, mirror=self._mirror)


@torch.inference_mode()
def crop_outputs(
    model: AgeModel,
    crops: UInt8[np.ndarray, "batch side side 3"],
    age_text: Float[Tensor, "age embed"],
    *,
    mirror: bool,
) -> CropOutputs:
    """What a model in eval mode says of some crops, on the device of its `age_text`."""
    pixels = torch.from_numpy(crops).to(age_text.device).permute(0, 3, 1, 2).float() / 255
    description = model.describe(pixels, age_text, mirror=mirror)
    estimate = description.estimate
    values = (description.embedding, estimate.logits, estimate.age, estimate.spread)
    return CropOutputs(*(_array(value) for value in (*values, description.parts, description.relevance)))


def _array(value: Tensor) -> np.ndarray:
    return value.float().cpu().numpy()


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"PyTorch has no device '{name}' here; give 'cpu'") from error
    return device
