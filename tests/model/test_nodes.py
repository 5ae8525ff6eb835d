"""Cells of a trunk's grid as nodes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cilf.face.finder import FaceFinder, align
from cilf.model.lra_gnn import LRAGNN
from cilf.model.mcgrl import MCGRL
from cilf.model.nodes import KEY_POINTS, GridNodes, GridTrunk, key_point_cells
from tests import tiny

# The 68 points of `KEY_POINTS` in MediaPipe's mesh: outline, brows, nose, eyes, mouth.
MESH_POINTS = (
    *(
        162,
        234,
        93,
        58,
        172,
        136,
        149,
        148,
        152,
        377,
        378,
        365,
        397,
        288,
        323,
        454,
        389,
        71,
        63,
        105,
        66,
        107,
        336,
    ),
    *(
        296,
        334,
        293,
        301,
        168,
        197,
        5,
        4,
        75,
        97,
        2,
        326,
        305,
        33,
        160,
        158,
        133,
        153,
        144,
        362,
        385,
        387,
        263,
        373,
    ),
    *(380, 61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87),
)


@pytest.mark.slow
def test_the_key_points_are_those_of_two_portraits(
    finder: FaceFinder, grace_hopper: np.ndarray, eileen_collins: np.ndarray
) -> None:
    solutions = pytest.importorskip("mediapipe.python.solutions.face_mesh")
    mesh = solutions.FaceMesh(
        static_image_mode=True, max_num_faces=1, refine_landmarks=True, min_detection_confidence=0.3
    )
    points = []
    for portrait in (grace_hopper, eileen_collins):
        face = max(finder.find(portrait), key=lambda each: each.box[2] - each.box[0])
        crop = align(portrait, face, 256)
        for picture in (crop, crop[:, ::-1]):
            [marks] = mesh.process(np.ascontiguousarray(picture)).multi_face_landmarks
            points.append([(marks.landmark[number].x, marks.landmark[number].y) for number in MESH_POINTS])
    assert np.abs(np.mean(points, axis=0) - np.array(KEY_POINTS)).max() < 0.02


@pytest.mark.parametrize("side", [3, 4, 6, 7, 8, 14])
def test_a_mirrored_face_has_the_same_nodes(side: int) -> None:
    cells = key_point_cells(side).reshape(side, side)
    assert (cells == cells[:, ::-1]).all()
    assert 0.2 < cells.mean() <= 1


def test_both_grids_of_the_trunk_lie_on_each_other() -> None:
    trunk = GridTrunk(tiny.LRA_GNN_MODEL).eval()
    with torch.no_grad():
        cells = trunk(torch.rand(2, 3, 64, 64))
    assert cells.shape == (2, trunk.channels, 4, 4)
    coarse = cells[:, -96:].unfold(2, 2, 2).unfold(3, 2, 2)
    assert (coarse == coarse[..., :1, :1]).all()


def test_positions_fit_smaller_grids() -> None:
    nodes = GridNodes(channels=8, width=4, side=4)
    assert torch.equal(nodes.positions(4)[5], nodes.position_embedding[:, 1, 1])
    assert nodes(torch.zeros(2, 9, 8), torch.tensor([0, 2, 8])).shape == (2, 3, 4)


@pytest.mark.parametrize("make", [tiny.lra_gnn, tiny.mcgrl])
def test_a_crop_and_its_mirror_image_get_the_same_age_and_mirrored_maps(make) -> None:
    model, pixels = make(), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        first = model.describe(pixels, model.encode_ages(), mirror=True)
        second = model.describe(pixels.flip(-1), model.encode_ages(), mirror=True)
    torch.testing.assert_close(first.estimate.age, second.estimate.age)
    torch.testing.assert_close(first.relevance, second.relevance.flip(-1))
    torch.testing.assert_close(first.embedding.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize(("make", "config"), [(LRAGNN, tiny.LRA_GNN_MODEL), (MCGRL, tiny.MCGRL_MODEL)])
@pytest.mark.parametrize("graph", [True, False])
@torch.no_grad()
def test_the_head_and_the_graph_are_options(make, config, graph: bool) -> None:
    model = make(replace(config, graph=graph, head="distribution")).eval()
    description = model.describe(torch.rand(2, 3, 64, 64), model.encode_ages(), mirror=False)
    assert ((description.estimate.age > 0) & (description.estimate.age < 100)).all()
    with_graph = make(replace(config, graph=True, head="distribution"))
    names = [
        {name for name, _ in each.named_parameters() if "relations" not in name}
        for each in (model, with_graph)
    ]
    assert names[0] == names[1]
