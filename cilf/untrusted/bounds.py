"""Ranges of what a checkpoint's configuration may hold: it may come from anybody, and is checked when it is read.

pydantic enforces them. They are far wider than any model of these families needs, and narrow enough that a
configuration alone takes neither much memory nor much time. Shapes are also compared with the weights file before
anything is allocated (`cilf.checkpoint`).
"""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict  # pydantic wants this one on Python 3.11

Side = Annotated[int, Field(ge=32, le=1024)]  # of a crop, in pixels
GridSide = Annotated[int, Field(ge=32, le=448)]  # of a crop whose grid's cells are compared pair by pair
Width = Annotated[int, Field(ge=1, le=4096)]
Count = Annotated[int, Field(ge=1, le=64)]
Few = Annotated[int, Field(ge=1, le=32)]
CountFromZero = Annotated[int, Field(ge=0, le=64)]
Ages = Annotated[int, Field(ge=2, le=201)]
Rows = Annotated[int, Field(ge=0, le=100_000)]
Tokens = Annotated[int, Field(ge=1, le=49_408)]  # CLIP's whole vocabulary
TokenId = Annotated[int, Field(ge=0, lt=49_408)]

Number = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
NumberFromZero = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Factor = Annotated[float, Field(gt=0, le=1e3, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Years = Annotated[float, Field(ge=0, le=200, allow_inf_nan=False)]
Numbers = Annotated[tuple[Number, ...], Field(max_length=100_000)]
Several = Annotated[tuple[Count, ...], Field(min_length=1, max_length=16)]

Name = Annotated[str, Field(max_length=120)]
Names = Annotated[tuple[Name, ...], Field(max_length=20_000)]
# `{age}` once, and no format of it: one such as {age:9999999999} would write that many letters.
Template = Annotated[str, Field(max_length=120, pattern=r"^[^{}]*\{age\}[^{}]*$")]
Templates = Annotated[tuple[Template, ...], Field(min_length=1, max_length=64)]

Trunk = Literal[
    "resnet18",
    "resnet34",
    "resnet50",
    "test_resnet",
    "tf_efficientnet_lite0",
    "tf_efficientnet_lite1",
    "tf_efficientnet_lite2",
    "tf_efficientnet_lite3",
    "tf_efficientnet_lite4",
]
"""The convolutional networks of timm that a checkpoint may be made of: each a plain name, by which timm reads no file
and no address, as it does for `hf-hub:…` and `local-dir:…`."""


@with_config(ConfigDict(extra="forbid"))
class VisionArchitecture(TypedDict, total=False):
    """open_clip's `vision_cfg` of a vision transformer, or of a network of timm."""

    image_size: Side
    layers: Count
    width: Width
    patch_size: Annotated[int, Field(ge=4, le=64)]
    timm_model_name: Trunk
    timm_pool: Literal["avg"]
    timm_proj: Literal["linear"]
    timm_drop_path: Share


@with_config(ConfigDict(extra="forbid"))
class TextArchitecture(TypedDict, total=False):
    """open_clip's `text_cfg` of its own transformer."""

    context_length: Annotated[int, Field(ge=4, le=256)]
    vocab_size: Tokens
    width: Width
    heads: Count
    layers: Count


@with_config(ConfigDict(extra="forbid"))
class Architecture(TypedDict, total=False):
    """What `open_clip.CLIP` is built from."""

    embed_dim: Width
    quick_gelu: bool
    vision_cfg: VisionArchitecture
    text_cfg: TextArchitecture
