"""The optimiser, its learning rate over time, and the moving average of the weights."""

import math
from collections.abc import Callable, Mapping
from types import MethodType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.fit.recipe import FitConfig

NOT_DECAYED = ("embedding", "prompts.context", "prompts.anchors", "tags", "gamma")


def make_optimizer(model: nn.Module, config: FitConfig) -> torch.optim.Optimizer:
    """AdamW; only matrices and filters are decayed, not vectors, scalars, embeddings or learned tokens."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        rate = config.rate_of(name)
        parameter.requires_grad_(rate > 0)
        exempt = parameter.ndim < 2 or any(part in name for part in NOT_DECAYED)
        if rate > 0:
            groups.setdefault((rate, 0.0 if exempt else config.weight_decay), []).append(parameter)
    options = [
        {"params": parameters, "rate": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]
    return torch.optim.AdamW(options, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)


def cosine_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """Learning rate at a step: linear warm-up over a share of all steps, then half a cosine down to 0."""
    rising = max(1, round(warmup * steps))
    if step < rising:
        return peak * (step + 1) / rising
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters and buffers that a checkpoint holds."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


@torch.no_grad()
def update_average(average: Mapping[str, Tensor], model: nn.Module, step: int, decay: float) -> None:
    """Exponential moving average after `step` steps; it starts short, so that the random start is soon forgotten."""
    weight = 1 - min(decay, (1 + step) / (10 + step))
    state = model.state_dict()
    learned = [name for name, value in state.items() if value.is_floating_point()]
    counted = [name for name, value in state.items() if not value.is_floating_point()]
    # One call for all: a GPU would wait for hundreds.
    torch._foreach_lerp_([average[name] for name in learned], [state[name] for name in learned], weight)
    if counted:
        torch._foreach_copy_([average[name] for name in counted], [state[name] for name in counted])


def freeze_statistics(model: nn.Module) -> None:
    """Batch normalisation by the running statistics, which stay as they are, until `train()` is called again."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def pad_small_maps(tower: nn.Module) -> None:
    """Pad the maps of depth-wise convolutions that are smaller than the kernel ahead of the convolution: of kernels
    that reach beyond both edges oneDNN computes the gradient three to six times as slowly (train/LOG.md, 2026-12-01).
    """
    _replace_forward(tower, _padded)


def depthwise_in_float32(tower: nn.Module) -> None:
    """Keep autocast away from depth-wise convolutions, padded as by `pad_small_maps`: their bfloat16 gradients are far
    slower on a CPU."""
    _replace_forward(tower, _in_float32)


def _replace_forward(tower: nn.Module, forward: Callable[[nn.Conv2d, Tensor], Tensor]) -> None:
    """As a method, so that a copy of a convolution computes with its own weights."""
    for module in tower.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            module.forward = MethodType(forward, module)  # type: ignore[method-assign]


def _padded(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    padding = convolution.padding
    small = max(x.shape[-2:]) < max(convolution.kernel_size)
    if not small or isinstance(padding, str) or padding == (0, 0):
        return type(convolution).forward(convolution, x)
    rows, columns = padding
    wide = F.pad(x, (columns, columns, rows, rows)).contiguous(memory_format=torch.channels_last)
    return F.conv2d(
        wide,
        convolution.weight,
        convolution.bias,
        convolution.stride,
        dilation=convolution.dilation,
        groups=convolution.groups,
    )


def _in_float32(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return _padded(convolution, x.float()).to(x.dtype)
