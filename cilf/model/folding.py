"""Batch normalisation folded into the convolution before it: the same function in fewer operations."""

from timm.layers import Conv2dSame
from torch import nn

# Others, such as weight-standardised ones, compute something else with their weights.
PLAIN: tuple[type[nn.Conv2d], ...] = (nn.Conv2d, Conv2dSame)


def fold_batch_norm(network: nn.Module) -> None:
    """Fold every batch normalisation that follows a convolution.

    A normalisation that brings its activation along, as timm's do, leaves the activation in its place. Order among a
    module's children is taken for the order of computation, which holds for timm's and torchvision's convolutional
    networks.
    """
    before: tuple[str, nn.Conv2d] | None = None
    for name, child in list(network.named_children()):
        if isinstance(child, nn.BatchNorm2d) and before and before[1].out_channels == child.num_features:
            place, convolution = before
            setattr(network, place, nn.utils.fuse_conv_bn_eval(convolution, child))
            setattr(network, name, getattr(child, "act", nn.Identity()))
        fold_batch_norm(child)
        if not isinstance(child, nn.Identity):
            before = (name, child) if isinstance(child, nn.Conv2d) and type(child) in PLAIN else None
