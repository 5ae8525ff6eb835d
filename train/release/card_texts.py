"""What a model card says of its model family alone: one entry a family, by the name that the registry gives it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cilf.checkpoint import CheckpointConfig
from cilf.model.config import ClipConfig


@dataclass(frozen=True)
class CardTexts:
    """Texts of one family, each made from a checkpoint's configuration.

    Attributes:
        tag: what the Hub's search finds it by, beside "age-estimation" and "face".
        description: what it is, in two or three sentences.
        start: what its weights started from, up to "Trained on".
        labels: what the labels of the training photos shaped beside the age.
        pipeline: name of the recipe that makes such a checkpoint by `python -m train run`.
    """

    tag: str
    description: Callable[[CheckpointConfig], str]
    start: Callable[[CheckpointConfig], str]
    labels: Callable[[CheckpointConfig], str]
    pipeline: Callable[[CheckpointConfig], str]


IMAGENET = {
    "tf_efficientnet_lite0": "The image tower started from EfficientNet-Lite0's published ImageNet weights "
    "(Apache-2.0); everything else from random ones. "
}
RACE_WORDS = (
    "Race words are those of the labels, assigned by other people or programs, not by the persons shown."
)
CAPTIONS = (
    "The captions that trained the text tower were made from the labels (age, gender, race): similarity to such words "
    "shows what the labels say, nothing more, and words outside them are unknown to it. " + RACE_WORDS
)
MEASURED_CAPTIONS = (
    "The captions that trained the text tower were made from the labels (age, gender, race) and from what was measured "
    "on the photos (expression, pose, light, tone, quality) by rules, not seen by people: similarity to such words "
    "shows what labels and rules say, nothing more, and words outside them are unknown to it. " + RACE_WORDS
)
PUBLISHED_CAPTIONS = (
    "Both towers started from a published CLIP's weights. The captions of the training were made from the labels (age, "
    "gender, race): similarity to such words shows what the labels say, too. " + RACE_WORDS
)
ATTRIBUTE_HEADS = (
    "Gender and race are those of the labels, assigned by other people or programs, not by the persons shown. The two "
    "heads that learned them are there to shape what the age head builds on; the estimator gives out neither."
)


def _cilf(config: CheckpointConfig) -> str:
    rule, clip, ensemble = config.correction, _clip(config), config.ensemble
    assert ensemble is not None  # CILF's checkpoints have one
    vision = clip.architecture["vision_cfg"]
    tower = vision.get("timm_model_name") or f"a vision transformer of {vision['layers']} layers"
    text_tower = "a small transformer" if clip.words else "a published CLIP's transformer"
    if rule.max_views > 1:
        does = (
            f"Where the estimated error is above ε = {rule.epsilon:.2f} years, up to {rule.max_views - 1} further "
            "views of the face are sought and the age is corrected step by step."
        )
    else:
        does = (
            f"On the photos kept for choices no correction rule gained enough, so this checkpoint never corrects; "
            f"estimates with an estimated error above ε = {rule.epsilon:.2f} years are marked as of low confidence."
        )
    return (
        f"Age from one face, by fusing features of an image tower and a text tower in the frequency domain. Image "
        f"tower: {tower} on one aligned face of {clip.image_size} px; text tower: {text_tower}; "
        f"error ensemble of {ensemble.members} networks. {does}\n"
    )


def _cilf_start(config: CheckpointConfig) -> str:
    return IMAGENET.get(_clip(config).architecture["vision_cfg"].get("timm_model_name", ""), "")


def _cilf_labels(config: CheckpointConfig) -> str:
    teachers = len(config.training.get("teachers", ()))
    distilled = (
        f" Its last stage was distilled from {'an earlier model' if teachers == 1 else f'{teachers} earlier models'}, "
        "trained on the same photos."
    )
    words = _clip(config).words
    captions = (
        MEASURED_CAPTIONS if words and "smiling" in words else CAPTIONS if words else PUBLISHED_CAPTIONS
    )
    return captions + (distilled if teachers else "")


def _cilf_pipeline(config: CheckpointConfig) -> str:
    if not _clip(config).words:
        return "vit-b-16"
    return "compact-words" if _learned_words(config.training) else "compact"


def _learned_words(training: Mapping[str, Any] | None) -> bool:
    """Whether the text tower learned from texts alone, in this run or in one that it started from."""
    if not training:
        return False
    steps = training.get("recipe", {}).get("fit", {}).get("text_steps", 0)
    return bool(steps) or _learned_words(training.get("start"))


def _clip(config: CheckpointConfig) -> ClipConfig:
    model: Any = config.model
    clip: ClipConfig = model.clip
    return clip


def _mtmsa(config: CheckpointConfig) -> str:
    return (
        f"The second system: age from one aligned face of {config.model.image_size} px by a ResNet34 with dilated "
        "multi-scale attention, whose heads for gender and race were trained along with that for the age. The age is a "
        "Gaussian, learned by the KL divergence from a Dirac at the label. It has no text tower, so it compares no "
        "prompts, and no error ensemble, so it never corrects; an estimate whose Gaussian expects an error above "
        f"ε = {config.correction.epsilon:.2f} years is marked as of low confidence.\n"
    )


REBUILD = (
    "A compact rebuild from incomplete sources on a small trunk: what it reaches says nothing about the original at "
    "full size. It has no text tower, so it compares no prompts, and no error ensemble, so it never corrects; an "
    "estimate whose distribution expects an error above "
)


def _lra_gnn(config: CheckpointConfig) -> str:
    model: Any = config.model
    return (
        f"Age from one aligned face of {model.image_size} px after LRA-GNN: cells of the trunk's grid at key points "
        f"are nodes, {model.heads} latent graphs join all of them, {model.layers} residual graph convolutions follow, "
        "and a classifier of decades with a regression of years gives the age, from which a walk on the grid of both "
        f"goes on. {REBUILD}ε = {config.correction.epsilon:.2f} years is marked as of low confidence.\n"
    )


def _mcgrl(config: CheckpointConfig) -> str:
    model: Any = config.model
    return (
        f"Age from one aligned face of {model.image_size} px after MCGRL: a structural branch of "
        f"{len(model.neighbours)} graph convolutions over the cells of the trunk's grid, trained with masked nodes and "
        "by contrast with a semantic branch. It says one age; how wide the distribution around it is was fitted "
        f"afterwards. {REBUILD}"
        f"ε = {config.correction.epsilon:.2f} years is marked as of low confidence.\n"
    )


def _grid_start(config: CheckpointConfig) -> str:
    model: Any = config.model
    return IMAGENET.get(model.trunk, "Every weight started from a random one. ")


AGES_ALONE = "Of the labels it learned the age alone."

CARD_TEXTS: Mapping[str, CardTexts] = {
    "cilf": CardTexts(
        tag="clip",
        description=_cilf,
        start=_cilf_start,
        labels=_cilf_labels,
        pipeline=_cilf_pipeline,
    ),
    "mtmsa": CardTexts(
        tag="resnet",
        description=_mtmsa,
        start=lambda config: "Every weight started from a random one. ",
        labels=lambda config: ATTRIBUTE_HEADS,
        pipeline=lambda config: "mtmsa",
    ),
    "lra-gnn": CardTexts(
        tag="graph-neural-network",
        description=_lra_gnn,
        start=_grid_start,
        labels=lambda config: AGES_ALONE,
        pipeline=lambda config: "lra-gnn",
    ),
    "mcgrl": CardTexts(
        tag="graph-neural-network",
        description=_mcgrl,
        start=_grid_start,
        labels=lambda config: AGES_ALONE,
        pipeline=lambda config: "mcgrl",
    ),
}
