"""Filtering in the frequency domain as matrix products: the form in which it goes into a graph.

ONNX's own transform goes along one axis and knows complex numbers as pairs of real ones. With a few hundred positions
one product with the transform's matrix takes its place, for each of the spectrum's two parts.
"""

from functools import cache
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.model.fourierformer import SLOPE, SpectralFilter


class DFTFilter(nn.Module):
    """Computes what a `SpectralFilter` computes, for one size of its grid or sequence; costs O(C N²).

    The weights are the filter's own, under their own names.
    """

    real_part: Tensor
    imaginary_part: Tensor
    from_real: Tensor
    from_imaginary: Tensor

    def __init__(self, original: SpectralFilter, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.real, self.imaginary = original.real, original.imaginary
        self.sizes = sizes
        self.spectrum = (*sizes[:-1], sizes[-1] // 2 + 1)
        self.beside = original.kernel_size // 2
        self.periodic = original.pad_mode == "circular"
        names = ("real_part", "imaginary_part", "from_real", "from_imaginary")
        for name, matrix in zip(names, _transforms(sizes), strict=True):
            self.register_buffer(name, matrix, persistent=False)

    def forward(self, x: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch channel *space"]:
        """Raises RuntimeError for another size than its own."""
        signal = x.flatten(2)
        real = self._filtered(signal @ self.real_part, self.real)
        imaginary = self._filtered(signal @ self.imaginary_part, self.imaginary)
        return (real @ self.from_real + imaginary @ self.from_imaginary).unflatten(2, self.sizes)

    def _filtered(self, part: Tensor, network: nn.Module) -> Tensor:
        first, second = network.children()
        part = self._padded(part.unflatten(2, self.spectrum))
        filtered: Tensor = second(self._padded(F.leaky_relu(first(part), SLOPE)))
        return filtered.flatten(2)

    def _padded(self, part: Tensor) -> Tensor:
        """As in `SpectralFilter`: rfft keeps half of the last axis, which therefore has ends."""
        if not self.beside:
            return part
        rows = self.beside if len(self.sizes) == 2 else 0
        if rows and self.periodic:
            part = torch.cat([part[:, :, -rows:], part, part[:, :, :rows]], dim=2)
            rows = 0
        return F.pad(part, (self.beside, self.beside, rows, rows) if rows else (self.beside, self.beside))


@cache
def _transforms(
    sizes: tuple[int, ...],
) -> tuple[
    Float[Tensor, "position frequency"],
    Float[Tensor, "position frequency"],
    Float[Tensor, "frequency position"],
    Float[Tensor, "frequency position"],
]:
    """Matrices of the real Fourier transform, to the spectrum's real and to its imaginary part, and of its inverse."""
    axes = tuple(range(1, len(sizes) + 1))
    positions = torch.eye(prod(sizes), dtype=torch.float64).unflatten(1, sizes)
    spectra = torch.fft.rfftn(positions, dim=axes, norm="ortho")
    units = torch.eye(spectra[0].numel(), dtype=torch.float64).unflatten(1, spectra.shape[1:])

    def waves(of: Tensor) -> Tensor:
        return torch.fft.irfftn(of, s=sizes, dim=axes, norm="ortho").flatten(1).float()

    there = spectra.flatten(1)
    return there.real.float(), there.imag.float(), waves(units), waves(1j * units)


def as_products(network: nn.Module, *inputs: Tensor) -> None:
    """Replace every `SpectralFilter` of a network, for the sizes that its filters meet with these inputs."""
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
