"""From a configuration to its network in PyTorch, one entry for each family of `cilf.model.registry`."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from cilf.model.base import AgeModel
from cilf.model.cilf import build_model
from cilf.model.lra_gnn import LRAGNN
from cilf.model.mcgrl import MCGRL
from cilf.model.mtmsa import MTMSA
from cilf.model.registry import AnyConfig

BUILDERS: Mapping[str, Callable[[Any], AgeModel]] = {
    "cilf": build_model,
    "mtmsa": MTMSA,
    "lra-gnn": LRAGNN,
    "mcgrl": MCGRL,
}

CLASSIFIERS: Mapping[str, Callable[[Any, Any], dict[str, str]]] = {"mtmsa": MTMSA.classify}
"""(network, crop and its mirror image as (2, 3, S, S) pixels in [0, 1]) → label of each attribute; for evaluation
alone, and of families with heads for attributes."""


def build(config: AnyConfig) -> AgeModel:
    """The network with random weights, or with published ones where its configuration names some."""
    return BUILDERS[config.kind](config)


def filled(config: AnyConfig, weights: Mapping[str, np.ndarray]) -> AgeModel:
    """The network with these weights, in eval mode on the CPU."""
    model = build(config)
    model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in weights.items()})
    return model.eval()
