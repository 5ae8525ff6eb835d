"""The model families that a checkpoint can hold, one entry each.

A family is told by the `kind` in its configuration. What training knows of it stands in `train.fit.recipe`,
`train.fit.objective` and `train.release.card_texts`, by the same name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Discriminator, Tag

from cilf.model.base import AgeModel
from cilf.model.cilf import ModelConfig, build_model
from cilf.model.correction import EnsembleConfig, ErrorEnsemble
from cilf.model.mtmsa import MTMSA, GaussianError, MTMSAConfig

ErrorNetwork = ErrorEnsemble | GaussianError


@dataclass(frozen=True)
class Family:
    """One family of networks.

    Attributes:
        name: `kind` of its configurations.
        title: for people.
        bundled: name of its bundled checkpoint, for `AgeEstimator.from_pretrained`.
        build: configuration → network with random weights, or with published ones where the configuration names some.
        without_published_weights: configuration → the same for weights that are at hand.
        compares_texts: it has a text tower, so faces can be compared with prompts.
        corrects: it has an error ensemble, by which an estimate can be corrected.
        classify: (network, crop and its mirror image as (2, 3, S, S) pixels in [0, 1]) → label of each attribute; for
            evaluation alone. None without heads for attributes.
    """

    name: str
    title: str
    bundled: str
    build: Callable[[Any], AgeModel]
    compares_texts: bool
    corrects: bool
    without_published_weights: Callable[[Any], Any] = lambda config: config
    classify: Callable[[Any, Any], dict[str, str]] | None = None


def _without_published_clip(config: ModelConfig) -> ModelConfig:
    return replace(config, clip=replace(config.clip, pretrained=None))


FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family(
            name="cilf",
            title="CILF compact",
            bundled="compact",
            build=build_model,
            compares_texts=True,
            corrects=True,
            without_published_weights=_without_published_clip,
        ),
        Family(
            name="mtmsa",
            title="MTMSA",
            bundled="mtmsa",
            build=MTMSA,
            compares_texts=False,
            corrects=False,
            classify=MTMSA.classify,
        ),
    )
}


def _kind(stored: Any) -> Any:
    """Checkpoints from before there was a second family do not say that they are of the first."""
    return stored.get("kind", "cilf") if isinstance(stored, dict) else getattr(stored, "kind", None)


SystemConfig = Annotated[
    Annotated[ModelConfig, Tag("cilf")] | Annotated[MTMSAConfig, Tag("mtmsa")], Discriminator(_kind)
]


def family_of(config: ModelConfig | MTMSAConfig) -> Family:
    """The family of a configuration."""
    return FAMILIES[config.kind]


def build(config: ModelConfig | MTMSAConfig) -> AgeModel:
    """The network with random weights, or with published ones where its configuration names some."""
    return family_of(config).build(config)


def build_errors(config: EnsembleConfig | None) -> ErrorNetwork:
    """The error model: an ensemble, or without a configuration the Gaussian's own expectation."""
    return GaussianError() if config is None else ErrorEnsemble(config)
