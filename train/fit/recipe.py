"""A recipe: everything that decides a training run, read from one TOML file."""

import tomllib
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol

import open_clip
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from cilf.errors import UsageError
from cilf.inference.tokenizer import WORD
from cilf.model.config import (
    ClipConfig,
    FusionConfig,
    LRAGNNConfig,
    MCGRLConfig,
    ModelConfig,
    MTMSAConfig,
    PromptConfig,
)
from cilf.model.registry import AnyConfig, family_of
from train.data.augmentation.augment import AugmentConfig
from train.data.captions import TEMPLATES, general_words, misspellings, vocabulary
from train.data.crop_cache import Subset
from train.fit.losses.ages import MixedAges
from train.fit.losses.cilf import LossConfig
from train.fit.losses.lra_gnn import LRAGNNLossConfig
from train.fit.losses.mcgrl import MCGRLLossConfig
from train.fit.losses.mtmsa import MTMSALossConfig
from train.fit.weight_matching import TOKENS

RECIPES = Path(__file__).parents[1] / "recipes"


@dataclass(frozen=True)
class FitConfig:
    """The optimisation.

    Attributes:
        batch_size: samples per step.
        epochs: passes over the training photos (each over a data set's `share` of them); the last one may be a part of
            one.
        learning_rate: peak of AdamW's rate: linear warm-up, then half a cosine down to 0.
        weight_decay: on matrices and filters, not on biases, norms, gains or embeddings.
        warmup: share of all steps.
        ema_decay: of the exponential moving average of the weights, which is what is kept.
        mixup: α of mixup's Beta distribution.
        mixup_share: share of the batches that are mixed.
        sizes: (share of the steps, side in pixels): from that point on train at that size.
        rates: part of the model (a prefix of its parameters' names) → factor of its learning rate; 0 freezes it, the
            longest prefix counts.
        precision: "bf16" computes the towers and fusion in bfloat16, the weights stay fp32.
        seed: of everything random.
        imagenet: the image tower starts from ImageNet weights (`train.fit.imagenet_weights`), not from random ones.
        balance: how much rare ages are preferred: photos are drawn ∝ (how common their age is)^−balance. 0 takes each
            as often as any other, 1 makes all ages equally frequent.
        frozen_statistics: batch normalisation uses the running statistics that it starts with, and leaves them: for
            small batches, and where several processes must learn exactly what one would.
        crop_size: least side in pixels that the crops must show; 0 is the model's image size. A smaller one means to
            enlarge them: a large network's finer grid then sees the same face.
        text_steps: steps in which the text tower learns the captions' words before the first photo
            (`train.fit.text_pretraining`).
        sentence_steps: steps in which the text tower of the start learns whole sentences from its own captions.
        trunk_of_start: of the checkpoint to start from take its image trunk alone; it may be of another system.
    """

    batch_size: int
    epochs: float
    learning_rate: float
    weight_decay: float
    warmup: float
    ema_decay: float
    mixup: float
    mixup_share: float
    sizes: tuple[tuple[float, int], ...]
    precision: Literal["bf16", "fp32"]
    seed: int
    rates: dict[str, float] = field(default_factory=dict)
    imagenet: bool = False
    balance: float = 0.0
    frozen_statistics: bool = False
    crop_size: int = 0
    text_steps: int = 0
    sentence_steps: int = 0
    trunk_of_start: bool = False

    def rate_of(self, parameter: str) -> float:
        """Give the factor of a parameter's learning rate, by its name."""
        prefixes = [prefix for prefix in self.rates if parameter.startswith(prefix)]
        return self.rates[max(prefixes, key=len)] if prefixes else 1.0


@dataclass(frozen=True)
class Recipe:
    """`shares`: data set name → share of its training photos per epoch. `mirror`: the checkpoint averages each face
    with its mirror image, which is a little better and takes nearly twice as long."""

    shares: dict[str, float]
    model: ModelConfig
    loss: LossConfig
    augment: AugmentConfig
    fit: FitConfig
    mirror: bool = True

    @property
    def crop_size(self) -> int:
        """Side in pixels that the crops must show at least."""
        return self.fit.crop_size or self.model.image_size

    @property
    def distils(self) -> bool:
        """Whether the loss needs teachers."""
        return self.loss.distillation > 0

    @property
    def trunk(self) -> str:
        """timm's name of the image tower's backbone."""
        return str(self.model.clip.architecture["vision_cfg"].get("timm_model_name", "a vision transformer"))


@dataclass(frozen=True)
class TrunkRecipe:
    """The same of a system that has no text tower and learns from no teacher."""

    shares: dict[str, float]
    model: Any
    loss: Any
    augment: AugmentConfig
    fit: FitConfig
    mirror: bool = True

    @property
    def crop_size(self) -> int:
        """As of `Recipe`."""
        return self.fit.crop_size or int(self.model.image_size)

    @property
    def distils(self) -> bool:
        """As of `Recipe`."""
        return False

    @property
    def trunk(self) -> str:
        """As of `Recipe`."""
        return str(self.model.trunk)


@dataclass(frozen=True)
class MTMSARecipe(TrunkRecipe):
    """Of MTMSA."""

    model: MTMSAConfig
    loss: MTMSALossConfig


class GridLoss(Protocol):
    """Weights of a loss on the cells of a trunk's grid."""

    def terms(self, model: Any, cells: Tensor, ages: MixedAges) -> dict[str, Tensor]:
        """All weighted terms by name, and their sum as `loss`."""
        ...

    def last_stage(self, model: Any, recipe: Any, train: Sequence[Subset]) -> None:
        """Fit in place what the loop leaves alone, on the training photos."""
        ...


@dataclass(frozen=True)
class GridRecipe(TrunkRecipe):
    """Of a network on the cells of a trunk's grid, such as LRA-GNN or MCGRL."""

    model: Any
    loss: GridLoss


AnyRecipe = Recipe | MTMSARecipe | GridRecipe


def read_recipe(name: str | Path) -> AnyRecipe:
    """Read a recipe by its name in `train/recipes`, or by its path.

    A recipe with `base = NAME` is that other recipe with the values that it gives itself put in place.

    Raises:
        UsageError: there is none, or a table or key is missing, unknown or of a wrong kind.
    """
    table = _table(name)
    try:
        fit = table["fit"] | {"sizes": tuple((share, size) for share, size in table["fit"]["sizes"])}
        shares = {name: float(options["share"]) for name, options in table["data"].items()}
        recipe, model_config, loss_config = FAMILIES[table["model"].get("kind", "cilf")]
        network, loss = model_config(table), _built(loss_config, table["loss"])
        how = _built(AugmentConfig, table["augment"]), _built(FitConfig, fit), table.get("mirror", True)
    except KeyError as error:
        raise UsageError(f"the recipe '{name}' has no {error}, or none that is known") from error
    except ValidationError as error:
        wrong = error.errors()[0]
        raise UsageError(
            f"the recipe '{name}': {'.'.join(map(str, wrong['loc']))}: {wrong['msg']}"
        ) from error
    except (TypeError, ValueError, AttributeError) as error:
        reason = str(error).replace(".__init__() got an unexpected", ": unexpected")
        raise UsageError(f"the recipe '{name}' cannot be read: {reason}") from error
    read: AnyRecipe = recipe(shares, network, loss, *how)
    return read


def read_cilf_recipe(name: str | Path) -> Recipe:
    """`read_recipe` for what speaks of CILF's parts. Raises UsageError for a recipe of another family."""
    recipe = read_recipe(name)
    if not isinstance(recipe, Recipe):
        title = family_of(recipe.model).title
        raise UsageError(f"the recipe '{name}' is of {title}, which has no such parts; give one of CILF")
    return recipe


def with_texts_of(start: AnyConfig | None, recipe: AnyRecipe) -> AnyRecipe:
    """Give the recipe the start's vocabulary where training leaves the text tower frozen: words added to the captions
    since would never be learned, and the two networks could not be averaged."""
    if not isinstance(recipe, Recipe) or not isinstance(start, ModelConfig):
        return recipe
    fit, own, of_start = recipe.fit, recipe.model.clip, start.clip
    learns = fit.rate_of(TOKENS) or fit.text_steps or fit.sentence_steps or fit.trunk_of_start
    if learns or None in (own.token_ids, of_start.token_ids):
        return recipe
    architecture = deepcopy(own.architecture)
    architecture["text_cfg"]["vocab_size"] = of_start.architecture["text_cfg"]["vocab_size"]
    clip = replace(
        own,
        architecture=architecture,
        token_ids=of_start.token_ids,
        words=of_start.words,
        misspelled=of_start.misspelled,
    )
    return replace(recipe, model=replace(recipe.model, clip=clip))


def with_seed(recipe: AnyRecipe, seed: int) -> AnyRecipe:
    """Give the recipe another seed of everything random."""
    return replace(recipe, fit=replace(recipe.fit, seed=seed))


def stored_model(recipe: AnyRecipe) -> AnyConfig:
    """How to build the recipe's network for weights that are at hand, without published ones to start from."""
    model: AnyConfig = family_of(recipe.model).without_published_weights(recipe.model)
    return model


def _built(config: Any, values: dict[str, Any]) -> Any:
    """A configuration of values of the right kinds, as they are: pydantic would make 3.0 of a 3."""
    TypeAdapter(config).validate_python(values)
    return config(**values)


def _with_tuples(options: dict[str, Any]) -> dict[str, Any]:
    """TOML's lists as tuples, which frozen configurations hold."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}


def _table(name: str | Path) -> dict[str, Any]:
    path = RECIPES / f"{name}.toml"
    if not path.is_file():
        path = Path(name)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"there is no recipe '{name}': neither in {RECIPES}, nor a file of that name"
        ) from error
    except ValueError as error:
        raise UsageError(f"the recipe '{name}' is no TOML: {error}") from error
    return _merged(_table(table.pop("base")), table) if "base" in table else table


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`below` with the values of `above`; tables in both are merged in turn."""
    both = below.keys() & above.keys()
    deeper = {key: _merged(below[key], above[key]) for key in both if isinstance(above[key], dict)}
    return below | above | deeper


def _model_config(table: dict[str, Any]) -> ModelConfig:
    prompts = PromptConfig(templates=TEMPLATES, **table["prompts"])
    fusion = FusionConfig(**table["fusion"])
    options = _with_tuples(table["model"])
    if "pretrained" in options:
        name = options["pretrained"].rsplit("/", 1)[0]
        architecture = open_clip.get_model_config(name)
        return ModelConfig(ClipConfig(architecture, **options), prompts, fusion)
    ids, words = _captions_vocabulary()
    options["misspelled"] = tuple(sorted(misspellings()))
    architecture = table["architecture"]
    architecture["text_cfg"]["vocab_size"] = len(ids) + 1  # one more for all unknown tokens
    return ModelConfig(ClipConfig(architecture, token_ids=ids, words=words, **options), prompts, fusion)


@cache
def _captions_vocabulary() -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Token ids of everything a training caption can say and of some words more, and the words of the captions."""
    tokenizer = open_clip.SimpleTokenizer(context_length=77)
    pieces = vocabulary()
    ids = {int(token) for row in tokenizer([*pieces, *general_words()]) for token in row} - {0}
    return tuple(sorted(ids)), tuple(
        sorted({word for piece in pieces for word in WORD.findall(piece.lower())})
    )


def _plain(config: Any) -> Callable[[dict[str, Any]], Any]:
    """What reads a network's configuration where the table `model` is all of it."""
    return lambda table: _built(config, _with_tuples(table["model"]))


# By the name in `cilf.model.registry`: the recipe, what reads its network's configuration, and its loss.
FAMILIES: dict[str, tuple[Any, Callable[[dict[str, Any]], Any], Any]] = {
    "cilf": (Recipe, _model_config, LossConfig),
    "mtmsa": (MTMSARecipe, _plain(MTMSAConfig), MTMSALossConfig),
    "lra-gnn": (GridRecipe, _plain(LRAGNNConfig), LRAGNNLossConfig),
    "mcgrl": (GridRecipe, _plain(MCGRLConfig), MCGRLLossConfig),
}
