"""LRA-GNN, a compact rebuild: latent relations between the cells of a face, deep residual graph convolutions, and an
age that is reached by steps on a grid of decades and years.

After Zhang, Shou, Ai, Meng and Li, "LRA-GNN" (Expert Systems with Applications 2025, arXiv 2502.05423), of which
abstract and figure alone were at hand; METHOD 15 says what is theirs and what is our reading. It has no text tower and
no error ensemble.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.model.config import LRAGNNConfig
from cilf.model.head import AgeEstimate, LinearHead, NormalHead, usual_spread
from cilf.model.nodes import STRIDE, GridModel, GridNodes, Reading, key_point_cells

YEARS = 10  # in a decade: columns of the grid
VISIT_FLOOR = 1e-4  # of a node that the walk does not come to: its logarithm is −9
GATE = math.log(0.1 / 0.9)  # at the start a tenth of each residual is added


def initial_graph(nodes: Float[Tensor, "batch node width"], edges: int) -> Float[Tensor, "batch node node"]:
    """Adjacency that joins the `edges` pairs of nodes with the greatest cosine in each face; symmetric, no loops.

    A share of the pairs and no threshold of the cosine: features behind a ReLU are all alike, and drift in training.
    """
    units = F.normalize(nodes.float(), dim=2)
    cosine = units @ units.transpose(1, 2)
    pairs = ~torch.eye(nodes.shape[1], dtype=torch.bool, device=nodes.device)
    # Rounding may make the two halves differ, by which the graph would lose its symmetry.
    cosine = ((cosine + cosine.transpose(1, 2)) / 2).masked_fill(~pairs, -2.0)
    least = cosine.flatten(1).topk(2 * edges, dim=1).values[:, -1]
    return ((cosine >= least[:, None, None]) & pairs).float()


def transitions(adjacency: Float[Tensor, "batch node node"]) -> Float[Tensor, "batch node node"]:
    """P = D⁻¹(A + I): the walk's probabilities of going from each node to each other, or of staying."""
    loops = adjacency + torch.eye(adjacency.shape[1], device=adjacency.device)
    return loops / loops.sum(dim=2, keepdim=True)


def visit_rates(transition: Float[Tensor, "batch node node"], steps: int) -> Float[Tensor, "batch node node"]:
    """R = (P + P² + … + P^T) / T: how often a walk of T steps from each node is expected at each other."""
    power = total = transition
    for _ in range(steps - 1):
        power = power @ transition
        total = total + power
    return total / steps


class LatentRelations(nn.Module):
    """M graphs in which every node is joined with every other: multi-head attention, guided by the random walk.

        A^(m) = softmax_rows( Q Kᵀ / √d + λ_m ln(ε + (P + R) / 2) ),   Q, K from V + R V,   λ_m ≥ 0

    Half of the heads start with λ = 1, the others near 0.
    """

    def __init__(self, config: LRAGNNConfig) -> None:
        super().__init__()
        self.config = config
        self.queries = nn.Linear(config.width, config.heads * config.key_width, bias=False)
        self.keys = nn.Linear(config.width, config.heads * config.key_width, bias=False)
        guided = torch.arange(config.heads) < (config.heads + 1) // 2
        self.guidance = nn.Parameter(torch.where(guided, 1.0, 0.01).expm1().log())  # softplus⁻¹

    def forward(
        self, nodes: Float[Tensor, "batch node width"], edges: int
    ) -> Float[Tensor, "batch head node node"]:
        """Attention of each node (row) to each other (column)."""
        with torch.autocast(nodes.device.type, enabled=False):
            nodes = nodes.float()
            transition = transitions(initial_graph(nodes.detach(), edges))
            visits = visit_rates(transition, self.config.walk_steps)
            walked = nodes + visits @ nodes
            queries, keys = (
                layer(walked).unflatten(2, (self.config.heads, -1)).transpose(1, 2)
                for layer in (self.queries, self.keys)
            )
            guide = (VISIT_FLOOR + (transition + visits) / 2).log().unsqueeze(1)
            logits = queries @ keys.transpose(2, 3) / math.sqrt(self.config.key_width)
            logits = logits + F.softplus(self.guidance)[:, None, None] * guide
            return logits.softmax(dim=3)


def residual_convolution(
    message: Float[Tensor, "batch head node width"],
    initial: Float[Tensor, "batch 1 node width"],
    before: Float[Tensor, "batch head node width"],
    weight: Float[Tensor, "own width width"],
    strengths: tuple[Tensor | float, Tensor | float, float],
) -> Float[Tensor, "batch head node width"]:
    """ReLU((1 − b)S + b S W) + c H with S = (1 − a) A H + a H₀: initial residual a as in GCNII, developmental one c.

    Args:
        message: A H.
        initial: H₀, of the first layer.
        before: H, what the layer before gave.
        weight: W, one for all heads or one each.
        strengths: a, c and b; a and c may differ from node to node.
    """
    a, c, b = strengths
    mixed = message + a * (initial - message)
    # One product for both terms, with one matrix where all heads share it, instead of a copy for each face.
    matrix = b * weight + (1 - b) * torch.eye(weight.shape[1], device=weight.device)
    return F.relu(mixed @ (matrix[0] if len(matrix) == 1 else matrix)) + c * before


class ResidualGraphLayer(nn.Module):
    """One convolution of every branch, whose residuals have strengths of each node's own, as in DRGCN:
    a = sigmoid(α + w · (LN H₀ ⊙ LN H)), c the same of this layer's and the last one's input."""

    def __init__(self, config: LRAGNNConfig, number: int) -> None:
        super().__init__()
        width = config.width
        self.weight = nn.Parameter(torch.empty(1 if config.shared else config.heads, width, width))
        nn.init.xavier_uniform_(self.weight.view(-1, width))
        self.initial, self.developmental = _gate(width), _gate(width)
        self.identity = math.log(
            0.5 / number + 1
        )  # b of layer 1, 2, …: the deeper, the nearer to the identity (GCNII)
        self.dropout = config.dropout

    def forward(
        self,
        now: Float[Tensor, "batch head node width"],
        before: Float[Tensor, "batch head node width"],
        initial: Float[Tensor, "batch 1 node width"],
        attention: Float[Tensor, "batch head node node"] | None,
    ) -> Float[Tensor, "batch head node width"]:
        """H' from H (`now`), the H before it and H₀; without attention each node hears itself alone."""
        norms = [F.layer_norm(value, value.shape[-1:]) for value in (initial, now, before)]
        a = self.initial(norms[0] * norms[1]).sigmoid()
        c = self.developmental(norms[1] * norms[2]).sigmoid()
        message = now if attention is None else attention.to(now.dtype) @ now
        message = F.dropout(message, self.dropout, self.training)
        return residual_convolution(message, initial, now, self.weight, (a, c, self.identity))


def _gate(width: int) -> nn.Linear:
    gate = nn.Linear(width, 1)
    nn.init.zeros_(gate.weight)
    nn.init.constant_(gate.bias, GATE)
    return gate


def cell_of(age: Float[Tensor, " batch"], decades: int) -> Int[Tensor, " batch"]:
    """Ages in years → cells of the grid: YEARS · decade + year within it, which is the age in whole years."""
    return age.round().long().clamp(0, YEARS * decades - 1)


def neighbours(decades: int) -> Int[Tensor, "cell 5"]:
    """The cell that each of the moves up, down, left, right and stay leads to; at the rim a move leads nowhere."""
    rows, columns = torch.arange(decades)[:, None], torch.arange(YEARS)[None]
    moves = ((-1, 0), (1, 0), (0, -1), (0, 1), (0, 0))
    ends = [
        YEARS * (rows + down).clamp(0, decades - 1) + (columns + right).clamp(0, YEARS - 1)
        for down, right in moves
    ]
    return torch.stack(ends, dim=2).flatten(0, 1)


STAY = 4  # the move that ends a walk


class GridWalk(nn.Module):
    """A walk on the grid of decades (rows) and years (columns), by the values of a Q-network of the state (f, row,
    column). It gets no label: it ends where staying is worth most, or after `moves` steps."""

    moves: Tensor

    def __init__(self, config: LRAGNNConfig) -> None:
        super().__init__()
        width = config.policy_width
        self.most = config.moves
        self.features = nn.Linear(config.width, width)
        self.row_embedding = nn.Parameter(0.1 * torch.randn(config.decades, width))
        self.column_embedding = nn.Parameter(0.1 * torch.randn(YEARS, width))
        self.values = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 5))
        last = self.values[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        last.bias.data = 0.01 * torch.eye(5)[STAY]  # before it is fitted a walk ends where it begins
        self.register_buffer("moves", neighbours(config.decades), persistent=False)

    def forward(
        self, features: Float[Tensor, "batch width"], cells: Int[Tensor, "batch some"]
    ) -> Float[Tensor, "batch some 5"]:
        """Q of the five moves at some cells of each face's grid."""
        places = (self.row_embedding.unsqueeze(1) + self.column_embedding).flatten(0, 1)
        return self.values(self.features(features).unsqueeze(1) + places[cells])

    def follow(
        self, features: Float[Tensor, "batch width"], start: Int[Tensor, " batch"]
    ) -> Int[Tensor, " batch"]:
        """The cells at which walks from `start` end.

        The best move of every cell is chosen at once; a face's walk then follows them. Staying leads to the same cell,
        so that a walk that has ended goes on without a change.
        """
        cells = torch.arange(len(self.moves), device=start.device).expand(features.shape[0], -1)
        best = self(features, cells).argmax(dim=2, keepdim=True)
        following = self.moves.expand(features.shape[0], -1, -1).gather(2, best).squeeze(2)
        place = start.unsqueeze(1)
        for _ in range(self.most):
            place = following.gather(1, place)
        return place.squeeze(1)


@dataclass(frozen=True)
class Ensemble:
    """The ensemble of group classifier and regressors, of B faces and R decades.

    Attributes:
        groups: (B, R) logits of the decades.
        years: (B, R) year within each decade, in (0, 10).
    """

    groups: Float[Tensor, "batch decade"]
    years: Float[Tensor, "batch decade"]

    def ages(self) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
        """Σ p_r (10 r + o_r), and the standard deviation in years that the classifier's doubt gives it."""
        share = self.groups.softmax(dim=1)
        each = YEARS * torch.arange(share.shape[1], device=share.device) + self.years
        age = (share * each).sum(dim=1)
        return age, (share * (each - age.unsqueeze(1)) ** 2).sum(dim=1).sqrt()

    def start(self) -> Int[Tensor, " batch"]:
        """The cell of the age: nearer the true one than the likeliest decade's year."""
        return cell_of(self.ages()[0], self.groups.shape[1])


class GroupHead(NormalHead):
    """Features → decades and the year within each; the age may then be reached by a walk."""

    def __init__(self, config: LRAGNNConfig) -> None:
        super().__init__(config.num_ages)
        self.groups = nn.Linear(config.width, config.decades)
        self.years = nn.Linear(config.width, config.decades)
        self.walk = GridWalk(config) if config.head == "walk" else None

    def forward(self, features: Float[Tensor, "batch width"]) -> Ensemble:
        """What the classifier and the regressors say."""
        with torch.autocast(features.device.type, enabled=False):
            features = features.float()
            return Ensemble(self.groups(features), YEARS * self.years(features).sigmoid())

    def estimate(self, features: Float[Tensor, "batch width"]) -> AgeEstimate:
        """A normal distribution around the age at which the walk ends, or that the regression gives."""
        features = features.float()
        ensemble = self(features)
        age, doubt = ensemble.ages()
        if self.walk is not None:
            with torch.autocast(features.device.type, enabled=False):
                age = self.walk.follow(features, ensemble.start()).to(age.dtype)
        spread = ((doubt**2 + usual_spread(age) ** 2) * self.temperature).sqrt()
        return self.summarise(age, spread)


class LRAGNN(GridModel):
    """Nodes at key points → initial graph and walk → latent graphs → residual convolutions → decades and years."""

    head: LinearHead | GroupHead

    def __init__(self, config: LRAGNNConfig) -> None:
        super().__init__(config, config.width)
        self.nodes = GridNodes(self.grid.channels, config.width, config.image_size // STRIDE)
        joined = config.graph and config.layers > 0
        self.relations = LatentRelations(config) if joined else None
        self.layers = nn.ModuleList(ResidualGraphLayer(config, 1 + number) for number in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.fuse = nn.Sequential(nn.Linear(config.width, config.width), nn.GELU())
        linear = config.head == "distribution"
        self.head = LinearHead(config.width, config.num_ages) if linear else GroupHead(config)

    def forward(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch embed"]:
        """Encode RGB crops with values in [0, 1] as features of the face."""
        return self.features(self.cells(pixels))

    def features(self, cells: Float[Tensor, "batch node channel"]) -> Float[Tensor, "batch width"]:
        """Cells of a grid → features of the face."""
        nodes = self.chosen(cells)
        return self.pooled(nodes, self.attention(nodes))

    def chosen(self, cells: Float[Tensor, "batch cell channel"]) -> Float[Tensor, "batch node width"]:
        """Cells of a grid → the nodes among them, projected."""
        nodes: Tensor = self.nodes(cells, self._places(cells.shape[1]).to(cells.device))
        return nodes

    def attention(
        self, nodes: Float[Tensor, "batch node width"]
    ) -> Float[Tensor, "batch head node node"] | None:
        """The latent graphs; None without a graph."""
        if self.relations is None:
            return None
        count = nodes.shape[1]
        return self.relations(nodes, max(1, round(self.config.edges * count * (count - 1) / 2)))

    def pooled(
        self,
        nodes: Float[Tensor, "batch node width"],
        attention: Float[Tensor, "batch head node node"] | None,
    ) -> Float[Tensor, "batch width"]:
        """Branches, their mean, and the mean over the nodes."""
        initial = nodes.unsqueeze(1)
        now = before = initial.expand(-1, self.config.heads, -1, -1) if len(self.layers) else initial
        for layer in self.layers:
            now, before = layer(now, before, initial, attention), now
        fused: Tensor = self.fuse(self.norm(now.mean(dim=1)))
        return fused.float().mean(dim=1)

    def read(self, cells: Float[Tensor, "batch node channel"]) -> Reading:
        """See `GridModel.read`; `relevance` is the attention that a node gets from all others, mean over the heads, and
        0 where a cell is no node."""
        nodes = self.chosen(cells)
        attention = self.attention(nodes)
        if attention is None:
            heard = torch.ones_like(nodes[..., 0], dtype=torch.float32)
        else:
            heard = attention.mean(dim=1).sum(dim=1)
        count = cells.shape[1]
        back = F.one_hot(self._places(count), count).to(heard)  # each node's cell
        features = self.pooled(nodes, attention)
        return Reading(features, self.head.estimate(features), heard @ back)

    def _places(self, count: int) -> Int[Tensor, " node"]:
        """Which of a grid's cells are nodes."""
        if self.config.nodes == "all":
            return torch.arange(count)
        return torch.from_numpy(key_point_cells(round(count**0.5)).nonzero()[0])
