"""MCGRL, a compact rebuild: a semantic and a structural branch over the cells of a face, drawn together by contrast.

After Shou, Cao, Liu and Meng, "Masked contrastive graph representation learning for age estimation" (Pattern
Recognition 2025, arXiv 2306.17798), of which abstract, figure and released code were at hand; METHOD 16 says what is
theirs and what is our reading. It has no text tower and no error ensemble.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from timm.layers import DropPath
from torch import Tensor, nn

from cilf.model.config import MCGRLConfig
from cilf.model.head import AgeEstimate, LinearHead, NormalHead, usual_spread
from cilf.model.nodes import STRIDE, GridModel, GridNodes, Reading

DECADE = 10.0  # years; ages are learned in decades
FIRST_AGE = 3.3  # decades, about the mean age of UTKFace: what an untrained head says
GROUPS = 4  # of the 1×1 convolution that joins a node with its neighbours, as in ViG
POSITIVE_NEIGHBOURS = 5  # whose mean is the second positive


def nearest(
    nodes: Float[Tensor, "batch node width"], count: int, dilation: int = 1, *, itself: bool = True
) -> Int[Tensor, "batch node neighbour"]:
    """Every `dilation`-th of the `count` · `dilation` nearest nodes, by the distance of unit vectors; no gradient goes
    through the choice. `itself`: whether a node is among its own neighbours, as the first."""
    with torch.no_grad(), torch.autocast(nodes.device.type, enabled=False):
        units = nn.functional.normalize(nodes.float(), dim=2)
        cosine = units @ units.transpose(1, 2)
        own = torch.eye(nodes.shape[1], dtype=torch.bool, device=nodes.device)
        cosine = cosine.masked_fill(own, 2.0 if itself else -2.0)
        chosen: Tensor = cosine.topk(count * dilation, dim=2).indices[:, :, ::dilation]
        return chosen


def gathered(
    nodes: Float[Tensor, "batch node width"], index: Int[Tensor, "batch node neighbour"]
) -> Float[Tensor, "batch node neighbour width"]:
    """The neighbours' features."""
    if not torch.is_grad_enabled():  # and in an exported graph, which may count nothing up
        flat = index.flatten(1).unsqueeze(2).expand(-1, -1, nodes.shape[2])
        return nodes.gather(1, flat).unflatten(1, index.shape[1:])
    # Whole rows of all faces at once: learning through `gather`, channel by channel, takes more than twice as long.
    first = nodes.shape[1] * torch.arange(nodes.shape[0], device=nodes.device)
    rows = (index + first.view(-1, 1, 1)).flatten()
    return nodes.flatten(0, 1).index_select(0, rows).unflatten(0, index.shape)


class GroupedLinear(nn.Conv1d):
    """A 1×1 convolution in groups over the channels of nodes, by one matrix product for each group: on CPUs faster than
    the convolution's own kernel."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__(width, width, kernel_size=1, groups=groups)

    def forward(self, nodes: Float[Tensor, "batch node width"]) -> Float[Tensor, "batch node width"]:
        """Transform each group of channels by itself."""
        assert self.bias is not None
        parts = (
            nodes.chunk(self.groups, 2),
            self.weight.squeeze(2).chunk(self.groups),
            self.bias.chunk(self.groups),
        )
        return torch.cat([nn.functional.linear(*part) for part in zip(*parts, strict=True)], dim=2)


class Grapher(nn.Module):
    """ViG's block (Han et al., NeurIPS 2022): max-relative graph convolution, then a feed-forward layer, each a
    residual branch.

        y = W₁ LN x,   m_i = max_j (y_j − y_i),   x ← x + W₃ GELU(LN(W₂ [y, m])),   x ← x + FFN(LN x)

    LayerNorm in the place of BatchNorm, which would mix the statistics of masked and of clean passes.
    """

    def __init__(self, width: int, neighbours: int, dilation: int, config: MCGRLConfig) -> None:
        super().__init__()
        self.count, self.dilation, self.graph = neighbours, dilation, config.graph
        self.norm = nn.LayerNorm(width)
        self.enter = nn.Linear(width, width)
        self.join = GroupedLinear(2 * width, GROUPS)
        self.join_norm = nn.LayerNorm(2 * width)
        self.leave = nn.Linear(2 * width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, config.expansion * width),
            nn.GELU(),
            nn.Linear(config.expansion * width, width),
        )
        self.drop = DropPath(config.stochastic_depth)

    def forward(
        self,
        nodes: Float[Tensor, "batch node width"],
        index: Int[Tensor, "batch node neighbour"] | None = None,
    ) -> tuple[Float[Tensor, "batch node width"], Int[Tensor, "batch node neighbour"]]:
        """Nodes, and the neighbours that were taken: those of `index`, or else the nearest."""
        entered = self.enter(self.norm(nodes))
        if index is None:
            index = nearest(entered, self.count, self.dilation)
        message = torch.zeros_like(entered)
        if self.graph:
            message = gathered(entered, index).amax(dim=2) - entered
        # ViG's order of channels, in which each group of the convolution holds nodes and messages.
        pairs = torch.stack([entered, message], dim=3).flatten(2)
        joined = self.join_norm(self.join(pairs))
        nodes = nodes + self.drop(self.leave(nn.functional.gelu(joined)))
        return nodes + self.drop(self.feed_forward(nodes)), index


class StructuralBranch(nn.Module):
    """Cells → graph → h+."""

    def __init__(self, channels: int, config: MCGRLConfig) -> None:
        super().__init__()
        side = config.image_size // STRIDE
        pairs = list(zip(config.neighbours, config.dilations, strict=True))
        if max(count * dilation for count, dilation in pairs) > side**2:
            raise ValueError(f"{side}×{side} nodes are too few for {pairs}, neighbours and dilations")
        self.nodes = GridNodes(channels, config.width, side)
        if config.readout == "node" and config.neighbours[0] < 2:
            raise ValueError(
                "in the first graph each node needs a neighbour beside itself, for the contrast of near ones"
            )
        # Nothing learns where nothing is hidden, and several processes want every parameter to learn.
        self.mask_token = nn.Parameter(0.02 * torch.randn(config.width)) if config.mask else None
        self.blocks = nn.ModuleList(Grapher(config.width, *pair, config) for pair in pairs)
        self.leave = nn.Linear(config.width, config.embed)

    def forward(
        self,
        cells: Float[Tensor, "batch node channel"],
        hidden: Bool[Tensor, "batch node"] | None = None,
        graphs: list[Tensor] | None = None,
    ) -> tuple[Float[Tensor, "batch node embed"], list[Tensor]]:
        """h+ of each node, and each block's neighbours.

        Args:
            cells: of a grid.
            hidden: nodes whose features the mask token replaces; their positions stay.
            graphs: neighbours to take, one tensor for each block; None finds them.
        """
        nodes = self.nodes.project(cells)
        if hidden is not None and self.mask_token is not None:
            nodes = torch.where(hidden.unsqueeze(2), self.mask_token.to(nodes.dtype), nodes)
        nodes = nodes + self.nodes.positions(round(nodes.shape[1] ** 0.5))
        taken = []
        for number, block in enumerate(self.blocks):
            nodes, index = block(nodes, graphs[number] if graphs else None)
            taken.append(index)
        return self.leave(nodes), taken


class YearsHead(NormalHead):
    """Features → the age itself, by one linear layer; how wide the distribution around it is depends on the age
    alone."""

    def __init__(self, width: int, num_ages: int) -> None:
        super().__init__(num_ages)
        self.decades = nn.Linear(width, 1)
        nn.init.normal_(self.decades.weight, std=1e-3)
        nn.init.constant_(self.decades.bias, FIRST_AGE)

    def forward(self, features: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch"]:
        """Ages in years."""
        with torch.autocast(features.device.type, enabled=False):
            return DECADE * self.decades(features.float()).squeeze(-1)

    def estimate(self, features: Float[Tensor, "batch width"]) -> AgeEstimate:
        """A normal distribution around the age."""
        age = self(features)
        return self.summarise(age, usual_spread(age) * self.temperature.sqrt())


@dataclass(frozen=True)
class Branches:
    """What both branches say of B images in training; N is 1 where images are contrasted and not nodes.

    Attributes:
        features: (B, D) mean of the clean pass over the nodes, from which the age is read.
        semantic: (B, N, D) h.
        structural: (B, N, D) h+, of the pass with hidden nodes.
        near: (B, N, D) mean h of a node's neighbours in the first graph; of image's nearest in the batch.
    """

    features: Float[Tensor, "batch embed"]
    semantic: Float[Tensor, "batch row embed"]
    structural: Float[Tensor, "batch row embed"]
    near: Float[Tensor, "batch row embed"]


class MCGRL(GridModel):
    """Semantic branch (cells → MLP → h) beside a structural one (cells → Graphers → h+), whose mean gives the age."""

    head: LinearHead | YearsHead

    def __init__(self, config: MCGRLConfig) -> None:
        own_stem = config.width if config.stem == "pixels" else 0
        super().__init__(config, config.embed, own_stem)
        channels = self.grid.channels
        self.semantic = nn.Sequential(
            nn.Linear(channels, config.embed), nn.ReLU(), nn.Linear(config.embed, config.embed)
        )
        self.structural = StructuralBranch(own_stem or channels, config)
        linear = config.head == "distribution"
        self.head = (LinearHead if linear else YearsHead)(config.embed, config.num_ages)

    def forward(
        self, pixels: Float[Tensor, "batch 3 height width"], hidden: Bool[Tensor, "batch node"] | None
    ) -> Branches:
        """Encode RGB crops with values in [0, 1] by both branches; `hidden` as of `branches`."""
        return self.branches(self.cells(pixels), hidden)

    def branches(
        self, cells: Float[Tensor, "batch node channel"], hidden: Bool[Tensor, "batch node"] | None
    ) -> Branches:
        """Both branches, the structural one with a clean pass and a second one in which the `hidden` nodes are masked
        and the graph is the clean one's; without hidden nodes both are one."""
        seen, own = self._inputs(cells)
        clean, graphs = self.structural(own)
        masked = clean if hidden is None else self.structural(own, hidden, graphs)[0]
        if self.config.readout == "image":
            semantic = self.semantic(seen.mean(dim=1, keepdim=True))
            rows = semantic.transpose(0, 1)
            count = min(POSITIVE_NEIGHBOURS, len(seen) - 1)
            near = gathered(rows, nearest(rows, count, itself=False)).mean(dim=2).transpose(0, 1)
            return Branches(clean.mean(dim=1), semantic, masked.mean(dim=1, keepdim=True), near)
        semantic = self.semantic(seen)
        near = gathered(semantic, graphs[0][:, :, 1 : 1 + POSITIVE_NEIGHBOURS]).mean(
            dim=2
        )  # the first is the node
        return Branches(clean.mean(dim=1), semantic, masked, near)

    def read(self, cells: Float[Tensor, "batch node channel"]) -> Reading:
        """See `GridModel.read`, by the clean pass; `relevance` is how far a node's own h+ differs from the mean of
        all in what the age head reads."""
        nodes, _ = self.structural(self._inputs(cells)[1])
        features = nodes.mean(dim=1).float()
        apart = (nodes.float() - features.unsqueeze(1)).abs()
        weight = self.head.get_parameter(
            "decades.weight" if isinstance(self.head, YearsHead) else "logits.weight"
        )
        return Reading(features, self.head.estimate(features), apart @ weight.abs().mean(dim=0))

    def _inputs(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """The semantic and the structural branch's part of the cells."""
        if self.config.stem == "trunk":
            return cells, cells
        return cells[..., : -self.config.width], cells[..., -self.config.width :]
