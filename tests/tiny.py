"""A model small enough for tests to build, run and train in a second: the same parts, with random weights.

The configurations need no PyTorch, as in the package.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cilf.checkpoint import Checkpoint, CheckpointConfig, save, tensors_of
from cilf.conformal import ConformalConfig
from cilf.face.views import View
from cilf.inference.correction import CorrectionConfig
from cilf.inference.error_models import (
    EnsembleConfig,
    ErrorEnsemble,
    ErrorNetwork,
    GaussianError,
    layer_shapes,
)
from cilf.inference.familiarity import Familiarity
from cilf.inference.predictive import PredictiveConfig
from cilf.model.config import (
    ClipConfig,
    FusionConfig,
    LRAGNNConfig,
    MCGRLConfig,
    ModelConfig,
    MTMSAConfig,
    PromptConfig,
)
from cilf.model.registry import AnyConfig

if TYPE_CHECKING:
    from cilf.model.base import AgeModel
    from cilf.model.cilf import CILF
    from cilf.model.lra_gnn import LRAGNN
    from cilf.model.mcgrl import MCGRL
    from cilf.model.mtmsa import MTMSA

CLIP = ClipConfig(
    architecture={
        "embed_dim": 16,
        "vision_cfg": {
            "timm_model_name": "test_resnet",
            "timm_pool": "avg",
            "timm_proj": "linear",
            "image_size": 64,
        },
        "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    },
    grid_stage=2,
)
MODEL = ModelConfig(
    clip=CLIP,
    prompts=PromptConfig(context_tokens=2, anchors=3, templates=("a {age} year old person", "age {age}")),
    fusion=FusionConfig(width=16, image_blocks=1, fusion_blocks=1),
)
BOUNDED = replace(MODEL, clip=replace(CLIP, style=True), fusion=replace(MODEL.fusion, gain=0.3))
# A hundred calibration photos, half of them estimated under 30 years; the true age lies anywhere in the distribution.
CONFORMAL = ConformalConfig(
    truth=tuple(float(index) for index in range(100)),
    age=tuple(0.6 * index for index in range(100)),
    spread=(8.0,) * 100,
    score=tuple(index % 50 / 50 for index in range(100)),
    edges=(30.0,),
)
VIEWS = (View("mirrored", flip=True), View("closer", zoom=0.8), View("wider", zoom=1.25))
CHECKPOINT = CheckpointConfig(
    model=MODEL,
    ensemble=EnsembleConfig(embed_dim=16, members=3, width=8),
    correction=CorrectionConfig(epsilon=4.0),
    predictive=PredictiveConfig(temperature=2.0, location="median"),
    conformal=CONFORMAL,
)
SEEKING = replace(CHECKPOINT, correction=CorrectionConfig(epsilon=0.0, max_views=4), views=VIEWS)

MTMSA_MODEL = MTMSAConfig(image_size=64, trunk="test_resnet", dilations=(1, 2), width=16, reduction=4)
MTMSA_CHECKPOINT = CheckpointConfig(
    model=MTMSA_MODEL,
    ensemble=None,
    correction=CorrectionConfig(epsilon=9.0),
    training={"data": ["utkface"]},
)


LRA_GNN_MODEL = LRAGNNConfig(
    image_size=64, trunk="test_resnet", width=16, heads=2, key_width=8, layers=2, policy_width=16
)
MCGRL_MODEL = MCGRLConfig(
    image_size=64, trunk="test_resnet", width=16, neighbours=(6, 4), dilations=(1, 2), embed=16
)
LRA_GNN_CHECKPOINT = replace(MTMSA_CHECKPOINT, model=LRA_GNN_MODEL)
MCGRL_CHECKPOINT = replace(MTMSA_CHECKPOINT, model=MCGRL_MODEL)


def lra_gnn() -> "LRAGNN":
    """Its walks lead somewhere, for each face elsewhere: an unfitted one stays where it starts."""
    import torch

    model: LRAGNN = _random(LRA_GNN_MODEL)
    torch.nn.init.normal_(model.head.walk.values[-1].weight)
    return model


def mcgrl(**changed: Any) -> "MCGRL":
    """With other fields of its configuration where some are given."""
    return _random(replace(MCGRL_MODEL, **changed))


def mtmsa() -> "MTMSA":
    return _random(MTMSA_MODEL)


def mtmsa_checkpoint(folder: Path) -> Path:
    """Random weights of MTMSA in `folder`."""
    save(folder, mtmsa(), GaussianError(), MTMSA_CHECKPOINT)
    return folder


def model() -> "CILF":
    return _random(MODEL)


def bounded_model() -> "CILF":
    """With shares of bounded length and the style of photos, as checkpoints are trained now."""
    return _random(BOUNDED)


def _random(config: AnyConfig) -> Any:
    """The network of a configuration with random weights, the same each time."""
    import torch

    from cilf.model.build import build

    torch.manual_seed(0)
    return build(config).eval()


def ensemble() -> ErrorEnsemble:
    chance, weights = np.random.default_rng(0), {}
    assert CHECKPOINT.ensemble is not None
    for name, (members, inputs, outputs) in layer_shapes(CHECKPOINT.ensemble).items():
        bound = inputs**-0.5
        weights[f"{name}.weight"] = chance.uniform(-bound, bound, (members, inputs, outputs)).astype(
            np.float32
        )
        weights[f"{name}.bias"] = np.zeros((members, 1, outputs), np.float32)
    return ErrorEnsemble(CHECKPOINT.ensemble, weights)


def checkpoint(
    model: "AgeModel",
    ensemble: ErrorNetwork,
    config: CheckpointConfig,
    familiarity: Familiarity | None = None,
) -> Checkpoint:
    """One with these parts that lies in no folder."""
    return Checkpoint(tensors_of(model, ensemble, familiarity), config, "tiny")
