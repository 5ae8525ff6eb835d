"""Gaussian noise that is a function of a sample's own draw, wherever and with whatever else it is computed."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

MASK = 0xFFFFFFFF


def gaussian_noise(seeds: Float[Tensor, " batch"], shape: torch.Size) -> Float[Tensor, "batch *shape"]:
    """Standard normal values of `shape` for each seed in [0, 1), by Box and Muller's transform of hashed counters."""
    count = math.prod(shape)
    place = torch.arange(count, device=seeds.device)
    start = (seeds.double() * 2**32).long().unsqueeze(1) * 0x9E3779B1
    first, second = (_hashed(start + 2 * place + half).double() / 2**32 for half in (0, 1))
    radius = (-2 * torch.log(first.clamp(min=2.0**-33))).sqrt()
    return (radius * torch.cos(2 * math.pi * second)).float().view(len(seeds), *shape)


def _hashed(x: Tensor) -> Tensor:
    """32 well-mixed bits (the "lowbias32" finaliser by Wellons, 2018); products wrap around, of which the lower 32 bits
    stay right."""
    x = x & MASK
    x = x ^ (x >> 16)
    x = (x * 0x7FEB352D) & MASK
    x = x ^ (x >> 15)
    x = (x * 0x846CA68B) & MASK
    return x ^ (x >> 16)
