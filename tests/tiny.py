"""A model small enough for tests to build, run and train in a second: the same parts, with random weights."""

from dataclasses import replace
from pathlib import Path

import torch

from cilf.checkpoint import CheckpointConfig, save
from cilf.conformal import IntervalConfig
from cilf.model.cilf import CILF, ModelConfig, build_model
from cilf.model.clip import ClipConfig
from cilf.model.correction import CorrectionConfig, EnsembleConfig, ErrorEnsemble
from cilf.model.fourierformer import FusionConfig
from cilf.model.mtmsa import MTMSA, GaussianError, MTMSAConfig
from cilf.model.prompts import PromptConfig

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
CHECKPOINT = CheckpointConfig(
    model=MODEL,
    ensemble=EnsembleConfig(embed_dim=16, members=3, width=8),
    correction=CorrectionConfig(epsilon=4.0),
    interval=IntervalConfig(edges=(30.0,), quantiles=(1.5, 1.2), floor=2.0),
)

MTMSA_MODEL = MTMSAConfig(image_size=64, trunk="test_resnet", dilations=(1, 2), width=16, reduction=4)
MTMSA_CHECKPOINT = CheckpointConfig(
    model=MTMSA_MODEL,
    ensemble=None,
    correction=CorrectionConfig(epsilon=9.0, max_iterations=0),
    interval=IntervalConfig(edges=(30.0,), quantiles=(1.5, 1.2), floor=2.0),
    training={"data": ["utkface"]},
)


def mtmsa() -> MTMSA:
    torch.manual_seed(0)
    return MTMSA(MTMSA_MODEL).eval()


def mtmsa_checkpoint(folder: Path) -> Path:
    """Random weights of MTMSA in `folder`."""
    save(folder, mtmsa(), GaussianError(), MTMSA_CHECKPOINT)
    return folder


def model() -> CILF:
    torch.manual_seed(0)
    return build_model(MODEL).eval()


def bounded_model() -> CILF:
    """With shares of bounded length, as checkpoints are trained now."""
    torch.manual_seed(0)
    return build_model(replace(MODEL, fusion=replace(MODEL.fusion, gain=0.3))).eval()


def ensemble() -> ErrorEnsemble:
    torch.manual_seed(0)
    return ErrorEnsemble(CHECKPOINT.ensemble).eval()
