"""How to build each network: one frozen configuration a part, stored as JSON beside the weights. Imports no PyTorch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from cilf.untrusted.bounds import (
    Ages,
    Architecture,
    Count,
    CountFromZero,
    Factor,
    Few,
    GridSide,
    Name,
    Names,
    Number,
    Several,
    Share,
    Side,
    Templates,
    TokenId,
    Trunk,
    Width,
)

PadMode = Literal["circular", "zeros"]


@dataclass(frozen=True)
class ClipConfig:
    """How to build the two towers.

    Attributes:
        architecture: an open_clip model configuration (`embed_dim`, `vision_cfg`, `text_cfg`, …).
        grid_stage: which of the image tower's intermediate outputs is the grid, counted from the end (1 = the last).
        token_ids: ids of the full CLIP vocabulary that the text tower has an embedding for, ascending; all other ids
            share one "unknown" embedding. None when the tower has the full vocabulary.
        words: words that occurred in training captions, sorted; None when the tower was trained on open text.
        misspelled: those of `words` that are misspellings: the tower knows them, nobody is to be offered them.
        pretrained: open_clip's `name/tag` of published weights to start from; None in a stored checkpoint.
        mean, std: RGB normalisation of pixels in [0, 1]; CLIP's own statistics (METHOD 2).
        style: whether the global embedding also sees the style of a photo (METHOD 2); of a convolutional tower alone.
    """

    architecture: Architecture
    grid_stage: Count = 1
    token_ids: Annotated[tuple[TokenId, ...], Field(max_length=49_408)] | None = None
    words: Names | None = None
    misspelled: Names = ()
    pretrained: Name | None = None
    mean: tuple[Share, Share, Share] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[Factor, Factor, Factor] = (0.26862954, 0.26130258, 0.27577711)
    style: bool = False

    @property
    def image_size(self) -> int:
        """Side of the square input in pixels."""
        return int(self.architecture["vision_cfg"]["image_size"])

    @property
    def embed_dim(self) -> int:
        """Width D of the space that images and texts share."""
        return int(self.architecture["embed_dim"])


@dataclass(frozen=True)
class PromptConfig:
    """How the age prompts are made.

    Attributes:
        num_ages: K; ages are 0 … K−1 years.
        context_tokens: learnable tokens before the age token.
        anchors: learnable age tokens, evenly spaced over the ages; those between are interpolated (OrdinalCLIP), each
            from its two neighbours ("hat" weights, METHOD 3).
        templates: sentences with `{age}`, averaged in embedding space beside the learnable prompt.
        gamma: initial gain of the context-aware part (DenseCLIP's 1e-4).
    """

    num_ages: Ages = 101
    context_tokens: CountFromZero = 8
    anchors: Ages = 11
    templates: Templates = ("a photo of a {age} year old person.",)
    gamma: Number = 1e-4


@dataclass(frozen=True)
class FusionConfig:
    """Sizes of the fusion.

    Attributes:
        width: channels C inside the blocks.
        image_blocks: 2-D blocks over the image grid (F1).
        fusion_blocks: 1-D blocks over the joint sequence of ages, global image token and grid (F2).
        layer_scale: initial value of the residual branches' per-channel gain.
        pad_mode: how the depth-wise filter pads the spectrum's full axis; `circular` is true to the DFT's
            periodicity, `zeros` is Fourmer's choice.
        gain: initial length of what the fusion adds to the unit global embedding; it is learned, and below 1. None adds
            the shares at whatever length they have, as checkpoints before this field did: there they drown the tower's
            own embedding.
    """

    width: Width = 256
    image_blocks: CountFromZero = 2
    fusion_blocks: CountFromZero = 2
    layer_scale: Number = 1e-2
    pad_mode: PadMode = "circular"
    gain: Share | None = None


@dataclass(frozen=True)
class ModelConfig:
    """One frozen configuration per part; stored as JSON beside the weights."""

    clip: ClipConfig
    prompts: PromptConfig
    fusion: FusionConfig
    kind: Literal["cilf"] = "cilf"

    @property
    def image_size(self) -> int:
        """Side of the square crops in pixels."""
        return self.clip.image_size

    @property
    def trunk(self) -> str:
        """timm's name of the image network; empty where it is none of timm's."""
        return self.clip.architecture.get("vision_cfg", {}).get("timm_model_name", "")


@dataclass(frozen=True)
class MTMSAConfig:
    """How to build the network.

    Attributes:
        image_size: side of the square input in pixels.
        trunk: timm's name of the ResNet whose first three stages are used.
        alternating: dilations of the third stage's blocks, one after another and over again.
        dilations: of the parallel branches that stand in the fourth stage's place.
        width: channels that they give together.
        reduction: by this factor the channel gate's hidden layer is narrower than `width`.
        dropout: of the pooled features, in training alone.
        genders, races: classes of the two auxiliary heads, in the order of their logits.
        num_ages: ages 0 … num_ages − 1 in the distribution.
        mean, std: RGB normalisation of pixels in [0, 1].
    """

    image_size: Side = 112
    trunk: Trunk = "resnet34"
    alternating: Several = (1, 2)
    dilations: Several = (1, 2, 3, 5)
    width: Width = 512
    reduction: Count = 16
    dropout: Share = 0.2
    genders: Names = ("male", "female")
    races: Names = ("white", "black", "asian", "indian", "other")
    num_ages: Ages = 101
    mean: tuple[Share, Share, Share] = (0.485, 0.456, 0.406)
    std: tuple[Factor, Factor, Factor] = (0.229, 0.224, 0.225)
    kind: Literal["mtmsa"] = "mtmsa"


@dataclass(frozen=True)
class LRAGNNConfig:
    """How to build the network.

    Attributes:
        image_size: side of the square input in pixels.
        trunk: timm's name of the network whose grids at strides 16 and 32 are the nodes.
        nodes: the cells that hold a key point of the mean face, or all.
        width: C, channels of a node.
        edges: share of all pairs of nodes that the initial graph joins, those of the greatest cosine.
        walk_steps: of the random walk on the initial graph.
        heads: M, latent graphs.
        key_width: of queries and keys.
        layers: L, graph convolutions of each branch; 0 pools the nodes as the trunk gives them.
        shared: the branches share their weights.
        graph: nodes exchange features; without it every layer hears each node alone.
        head: "walk" estimates the age by steps on the grid, "regression" by decade and year within it; "distribution"
            takes CILF's head, a distribution over the ages, in their place.
        decades: R, rows of the grid.
        policy_width: of the network that chooses the steps.
        moves: most steps on the grid.
        dropout: within the graph convolutions, in training alone.
        drop_path: of the trunk's residual branches, in training alone.
        num_ages: ages 0 … num_ages − 1 in the distribution.
        mean, std: RGB normalisation of pixels in [0, 1].
    """

    image_size: GridSide = 128
    trunk: Trunk = "tf_efficientnet_lite0"
    nodes: Literal["template", "all"] = "template"
    width: Width = 128
    edges: Annotated[float, Field(gt=0, le=1)] = 0.15
    walk_steps: Few = 5
    heads: Few = 4
    key_width: Width = 32
    layers: CountFromZero = 8
    shared: bool = True
    graph: bool = True
    head: Literal["walk", "regression", "distribution"] = "walk"
    decades: Annotated[int, Field(ge=1, le=20)] = 12
    policy_width: Width = 256
    moves: Few = 24
    dropout: Share = 0.1
    drop_path: Share = 0.1
    num_ages: Ages = 101
    mean: tuple[Share, Share, Share] = (0.5, 0.5, 0.5)
    std: tuple[Factor, Factor, Factor] = (0.5, 0.5, 0.5)
    kind: Literal["lra-gnn"] = "lra-gnn"


@dataclass(frozen=True)
class MCGRLConfig:
    """How to build the network.

    Attributes:
        image_size: side of the square input in pixels.
        trunk: timm's name of the network whose grids at strides 16 and 32 are the semantic branch's input.
        stem: what the structural branch starts from: the trunk's grid too, or convolutions of its own on the pixels.
        width: channels of a node in the structural branch.
        neighbours, dilations: k and d of each Grapher: every d-th of the k·d nearest nodes is a neighbour.
        expansion: width of the feed-forward layers in widths of a node.
        embed: width of the vectors that are contrasted, and of the age head's input.
        readout: what is contrasted: each node, or their mean, a vector for each image.
        mask: share of the nodes that are hidden in the second pass of training.
        graph: nodes take in their neighbours; without it their messages are 0.
        head: "years" learns the age itself; "distribution" takes CILF's head in its place.
        stochastic_depth: of the Graphers, drop_path: of the trunk's residual branches, both in training alone.
        num_ages: ages 0 … num_ages − 1 in the distribution.
        mean, std: RGB normalisation of pixels in [0, 1].
    """

    image_size: GridSide = 128
    trunk: Trunk = "tf_efficientnet_lite0"
    stem: Literal["trunk", "pixels"] = "trunk"
    width: Width = 192
    neighbours: Several = (6, 8, 9)
    dilations: Several = (1, 1, 2)
    expansion: Few = 2
    embed: Width = 256
    readout: Literal["node", "image"] = "node"
    mask: Share = 0.3
    graph: bool = True
    head: Literal["years", "distribution"] = "years"
    stochastic_depth: Share = 0.05
    drop_path: Share = 0.1
    num_ages: Ages = 101
    mean: tuple[Share, Share, Share] = (0.5, 0.5, 0.5)
    std: tuple[Factor, Factor, Factor] = (0.5, 0.5, 0.5)
    kind: Literal["mcgrl"] = "mcgrl"
