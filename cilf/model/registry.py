"""The model families that a checkpoint can hold, one entry each. Imports no PyTorch.

A family is told by the `kind` in its configuration. What training knows of it stands in `train.fit.recipe` and
`train.release.card_texts`, by the same name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Discriminator, Tag

from cilf.model.config import LRAGNNConfig, MCGRLConfig, ModelConfig, MTMSAConfig


@dataclass(frozen=True)
class Family:
    """One family of networks.

    Attributes:
        name: `kind` of its configurations.
        title: for people.
        summary: for the page: what it is, and what it cannot do.
        network: module and name of what builds it in PyTorch from its configuration (`cilf.model.build`).
        bundled: name of its bundled checkpoint, for `AgeEstimator.from_pretrained`; empty where none comes with the
            package.
        compares_texts: it has a text tower, so faces can be compared with prompts.
        corrects: it has an error ensemble, by which an estimate can be corrected.
        without_published_weights: configuration → the same for weights that are at hand.
    """

    name: str
    title: str
    summary: str
    network: str
    bundled: str = ""
    compares_texts: bool = False
    corrects: bool = False
    without_published_weights: Callable[[Any], Any] = lambda config: config


def _without_published_clip(config: ModelConfig) -> ModelConfig:
    return replace(config, clip=replace(config.clip, pretrained=None))


NO_WORDS = "it has no text tower, so it compares no words"

FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family(
            name="cilf",
            title="CILF compact",
            summary="CILF: fuses image and text; an error ensemble judges each estimate; compares faces with words",
            network="cilf.model.cilf:build_model",
            bundled="compact",
            compares_texts=True,
            corrects=True,
            without_published_weights=_without_published_clip,
        ),
        Family(
            name="mtmsa",
            title="MTMSA",
            summary="MTMSA: a ResNet34 with dilated multi-scale attention; its predicted Gaussian gives the "
            f"estimated error, so it never corrects; {NO_WORDS}",
            network="cilf.model.mtmsa:MTMSA",
            bundled="mtmsa",
        ),
        Family(
            name="lra-gnn",
            title="LRA-GNN (compact rebuild)",
            summary="LRA-GNN, a compact rebuild: graphs of latent relations between the parts of a face, and a walk "
            f"on a grid of decades and years; it never corrects; {NO_WORDS}",
            network="cilf.model.lra_gnn:LRAGNN",
            bundled="lra-gnn",
        ),
        Family(
            name="mcgrl",
            title="MCGRL (compact rebuild)",
            summary="MCGRL, a compact rebuild: graph convolutions over the parts of a face, trained with masked parts "
            f"and a contrastive loss; it never corrects; {NO_WORDS}",
            network="cilf.model.mcgrl:MCGRL",
            bundled="mcgrl",
        ),
    )
}


def _kind(stored: Any) -> Any:
    """Checkpoints from before there was a second family do not say that they are of the first."""
    return stored.get("kind", "cilf") if isinstance(stored, dict) else getattr(stored, "kind", None)


AnyConfig = ModelConfig | MTMSAConfig | LRAGNNConfig | MCGRLConfig
SystemConfig = Annotated[
    Annotated[ModelConfig, Tag("cilf")]
    | Annotated[MTMSAConfig, Tag("mtmsa")]
    | Annotated[LRAGNNConfig, Tag("lra-gnn")]
    | Annotated[MCGRLConfig, Tag("mcgrl")],
    Discriminator(_kind),
]


def family_of(config: AnyConfig) -> Family:
    """The family of a configuration."""
    return FAMILIES[config.kind]
