"""The forms in which a FourierFormer's parts go into a graph; each computes what the original does.

Filtering in the frequency domain becomes matrix products: ONNX's own transform goes along one axis and knows complex
numbers as pairs of real ones. With a few hundred positions one product with the transform's matrix takes its place.
Normalisation over channels becomes means along their own axis, without the transpositions to the last one and back.
"""

from functools import cache
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.model.fourierformer import SLOPE, ChannelNorm, SpectralFilter


class DFTFilter(nn.Module):
    """Computes what a `SpectralFilter` computes, for one size of its grid or sequence; costs O(C N²).

    The weights are the filter's own, under their own names.
    """

    there: Tensor
    back: Tensor

    def __init__(self, original: SpectralFilter, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.real, self.imaginary = original.real, original.imaginary
        self.sizes = sizes
        self.spectrum = (*sizes[:-1], sizes[-1] // 2 + 1)
        self.dense = original.kernel_size == 1
        self.beside = original.kernel_size // 2
        self.periodic = original.pad_mode == "circular"
        for name, matrix in zip(("there", "back"), _transforms(sizes), strict=True):
            self.register_buffer(name, matrix, persistent=False)

    def forward(self, x: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch channel *space"]:
        """Raises RuntimeError for another size than its own."""
        filters = self._dense if self.dense else self._depthwise
        return filters(x.flatten(2)).unflatten(2, self.sizes)

    def _dense(self, signal: Float[Tensor, "batch channel position"]) -> Tensor:
        there, back = self.there.chunk(2, dim=1), self.back.chunk(2)
        real, imaginary = (
            second(F.leaky_relu(first((signal @ of_part).unflatten(2, self.spectrum)), SLOPE)).flatten(2)
            for of_part, (first, second) in zip(there, (self.real, self.imaginary), strict=True)
        )
        return real @ back[0] + imaginary @ back[1]

    def _depthwise(self, signal: Float[Tensor, "batch channel position"]) -> Tensor:
        """Both parts at once: real and imaginary rows of the spectrum lie in turns, and so do the filters."""
        parts = (signal @ self.there).unflatten(2, (2, *self.spectrum)).flatten(1, 2)
        first, second = zip(self.real, self.imaginary, strict=True)
        parts = self._convolved(F.leaky_relu(self._convolved(parts, *first), SLOPE), *second)
        return parts.flatten(2).unflatten(1, (-1, 2)).flatten(2) @ self.back

    def _convolved(self, parts: Tensor, real: nn.Module, imaginary: nn.Module) -> Tensor:
        """As in `SpectralFilter`: rfft keeps half of the last axis, which therefore has ends."""
        weight, bias = (
            torch.stack([real.get_parameter(name), imaginary.get_parameter(name)], dim=1).flatten(0, 1)
            for name in ("weight", "bias")
        )
        padding = [self.beside] * len(self.sizes)
        if len(self.sizes) == 2 and self.periodic:
            parts = torch.cat([parts[:, :, -self.beside :], parts, parts[:, :, : self.beside]], dim=2)
            padding[0] = 0
        convolve = F.conv1d if len(self.sizes) == 1 else F.conv2d
        return convolve(parts, weight, bias, padding=padding, groups=len(weight))


@cache
def _transforms(
    sizes: tuple[int, ...],
) -> tuple[Float[Tensor, "position frequency"], Float[Tensor, "frequency position"]]:
    """Matrices of the real Fourier transform, to the spectrum's real part and then its imaginary one, and of its
    inverse."""
    axes = tuple(range(1, len(sizes) + 1))
    positions = torch.eye(prod(sizes), dtype=torch.float64).unflatten(1, sizes)
    spectra = torch.fft.rfftn(positions, dim=axes, norm="ortho")
    units = torch.eye(spectra[0].numel(), dtype=torch.float64).unflatten(1, spectra.shape[1:])

    def waves(of: Tensor) -> Tensor:
        return torch.fft.irfftn(of, s=sizes, dim=axes, norm="ortho").flatten(1).float()

    there = spectra.flatten(1)
    return torch.cat([there.real, there.imag], dim=1).float(), torch.cat([waves(units), waves(1j * units)])


class PlainChannelNorm(nn.Module):
    """Computes what a `ChannelNorm` computes, with its weights under their own names."""

    def __init__(self, original: ChannelNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = original.weight, original.bias, original.eps

    def forward(self, x: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch channel *space"]:
        """Norm over axis 1."""
        away = x - x.mean(dim=1, keepdim=True)
        deviation = (away.square().mean(dim=1, keepdim=True) + self.eps).sqrt()
        weight, bias = (each.unflatten(0, (-1, *[1] * (x.ndim - 2))) for each in (self.weight, self.bias))
        return away / deviation * weight + bias


def to_graph_forms(network: nn.Module, *inputs: Tensor) -> None:
    """Replace every `SpectralFilter` of a network, for the sizes that its filters meet with these inputs, and every
    `ChannelNorm`."""
    sizes: dict[nn.Module, tuple[int, ...]] = {}

    def note(module: nn.Module, given: tuple[Tensor]) -> None:
        sizes[module] = tuple(given[0].shape[2:])

    filters = {name: each for name, each in network.named_modules() if isinstance(each, SpectralFilter)}
    hooks = [each.register_forward_pre_hook(note) for each in filters.values()]
    network(*inputs)
    for hook in hooks:
        hook.remove()
    for name, each in filters.items():
        network.set_submodule(name, DFTFilter(each, sizes[each]))
    norms = {name: each for name, each in network.named_modules() if isinstance(each, ChannelNorm)}
    for name, norm in norms.items():
        network.set_submodule(name, PlainChannelNorm(norm))
