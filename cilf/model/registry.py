"""The two systems that a checkpoint can hold, told apart by the `kind` in its configuration."""

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from cilf.model.base import AgeModel
from cilf.model.cilf import ModelConfig, build_model
from cilf.model.correction import EnsembleConfig, ErrorEnsemble
from cilf.model.mtmsa import MTMSA, GaussianError, MTMSAConfig


def _kind(stored: Any) -> Any:
    """Checkpoints from before there was a second system do not say that they are the first."""
    return stored.get("kind", "cilf") if isinstance(stored, dict) else getattr(stored, "kind", None)


SystemConfig = Annotated[
    Annotated[ModelConfig, Tag("cilf")] | Annotated[MTMSAConfig, Tag("mtmsa")], Discriminator(_kind)
]

ErrorNetwork = ErrorEnsemble | GaussianError


def build(config: ModelConfig | MTMSAConfig) -> AgeModel:
    """The network with random weights (CILF's towers with published ones where its configuration names some)."""
    return MTMSA(config) if isinstance(config, MTMSAConfig) else build_model(config)


def build_errors(config: EnsembleConfig | None) -> ErrorNetwork:
    """The error model: an ensemble, or without a configuration the Gaussian's own expectation."""
    return GaussianError() if config is None else ErrorEnsemble(config)
