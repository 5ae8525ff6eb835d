"""From a configuration to its network in PyTorch, which `cilf.model.registry` names."""

from collections.abc import Mapping
from pkgutil import resolve_name

import numpy as np
import torch

from cilf.model.base import AgeModel
from cilf.model.registry import AnyConfig, family_of


def build(config: AnyConfig) -> AgeModel:
    """The network with random weights, or with published ones where its configuration names some."""
    model: AgeModel = resolve_name(family_of(config).network)(config)
    return model


def filled(config: AnyConfig, weights: Mapping[str, np.ndarray]) -> AgeModel:
    """The network with these weights, in eval mode on the CPU."""
    model = build(config)
    model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in weights.items()})
    return model.eval()
