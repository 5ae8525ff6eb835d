"""The model families that a checkpoint can hold, one entry each. Imports no PyTorch.

A family is told by the `kind` in its configuration. How its network is built stands in `cilf.model.build`, what
training knows of it in `train.fit.recipe`, `train.fit.objective` and `train.release.card_texts`, by the same name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Discriminator, Tag

from cilf.model.config import ModelConfig, MTMSAConfig


@dataclass(frozen=True)
class Family:
    """One family of networks.

    Attributes:
        name: `kind` of its configurations.
        title: for people.
        bundled: name of its bundled checkpoint, for `AgeEstimator.from_pretrained`.
        compares_texts: it has a text tower, so faces can be compared with prompts.
        corrects: it has an error ensemble, by which an estimate can be corrected.
        without_published_weights: configuration → the same for weights that are at hand.
    """

    name: str
    title: str
    bundled: str
    compares_texts: bool
    corrects: bool
    without_published_weights: Callable[[Any], Any] = lambda config: config


def _without_published_clip(config: ModelConfig) -> ModelConfig:
    return replace(config, clip=replace(config.clip, pretrained=None))


FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family(
            name="cilf",
            title="CILF compact",
            bundled="compact",
            compares_texts=True,
            corrects=True,
            without_published_weights=_without_published_clip,
        ),
        Family(name="mtmsa", title="MTMSA", bundled="mtmsa", compares_texts=False, corrects=False),
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
