"""Filtering in the frequency domain with few positions: the Fourier transform as the matrix product that it is."""

from functools import cache
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.fourierformer import SLOPE, PadMode, SpectralFilter

FEW = 256  # positions, up to which the product takes less time than the FFT: `pytest tests/benchmarks/test_dft.py -s`


class DFTFilter(nn.Module):
    """Computes what a `SpectralFilter` computes, for inference: no gradient reaches its weights.

    With few positions an FFT spends its time on being planned, at each call, and on taking complex numbers apart.
    Here both parts stay beside each other, so that one operation filters both. Costs O(C N²): only for N ≤ FEW.
    """

    def __init__(self, original: SpectralFilter) -> None:
        super().__init__()
        self.original = original

        def layer(index: int) -> nn.Module:
            real, imaginary = original.real[index], original.imaginary[index]
            if original.kernel_size == 1:
                return _Dense(real, imaginary)
            return _Depthwise(real, imaginary, original.pad_mode)

        self.network = nn.Sequential(layer(0), nn.LeakyReLU(SLOPE), layer(1))

    def forward(self, x: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch channel *space"]:
        sizes = x.shape[2:]
        if prod(sizes) > FEW:
            filtered: Tensor = self.original(x)
            return filtered
        transform, inverse, spectrum = _transforms(tuple(sizes), x.dtype, x.device)
        parts = transform @ x.movedim(1, -1).flatten(1, -2)
        parts = self.network(parts.unflatten(1, (2, *spectrum)))
        return (inverse @ parts.flatten(1, -2)).unflatten(1, sizes).movedim(-1, 1)


def _stacked(real: nn.Module, imaginary: nn.Module, name: str) -> Tensor:
    return torch.stack([network.get_parameter(name).detach() for network in (real, imaginary)])


class _Dense(nn.Module):
    """Over channels at each frequency."""

    weight: Tensor
    bias: Tensor

    def __init__(self, real: nn.Module, imaginary: nn.Module) -> None:
        super().__init__()
        self.register_buffer("weight", _stacked(real, imaginary, "weight").flatten(2).mT.contiguous())
        self.register_buffer("bias", _stacked(real, imaginary, "bias").unsqueeze(1))

    def forward(
        self, parts: Float[Tensor, "batch 2 row column channel"]
    ) -> Float[Tensor, "batch 2 row column channel"]:
        filtered = parts.flatten(2, 3) @ self.weight + self.bias
        return filtered.unflatten(2, parts.shape[2:4])


class _Depthwise(nn.Module):
    """Over three neighbouring frequencies of each axis at each channel: a sum of shifted products."""

    taps: Tensor
    bias: Tensor

    def __init__(self, real: nn.Module, imaginary: nn.Module, pad_mode: PadMode) -> None:
        super().__init__()
        weight = _stacked(real, imaginary, "weight").squeeze(2)
        taps = weight.flatten(2).movedim(-1, 0).contiguous()
        self.register_buffer("taps", taps)
        self.register_buffer("bias", _stacked(real, imaginary, "bias")[:, None, None])
        self.beside = len(taps) // 9  # rows of frequencies on either side: a sequence's spectrum has one row
        self.periodic = pad_mode == "circular"

    def forward(
        self, parts: Float[Tensor, "batch 2 row column channel"]
    ) -> Float[Tensor, "batch 2 row column channel"]:
        rows, columns = parts.shape[2:4]
        beside = 0 if self.periodic else self.beside
        wide = F.pad(parts, (0, 0, 1, 1, beside, beside))
        if self.periodic and self.beside:
            wide = torch.cat([wide[:, :, -1:], wide, wide[:, :, :1]], dim=2)
        filtered = self.bias
        for index, tap in enumerate(self.taps[:, :, None, None].unbind()):
            row, column = divmod(index, 3)
            filtered = torch.addcmul(filtered, wide[:, :, row : row + rows, column : column + columns], tap)
        return filtered


@cache
def _transforms(
    sizes: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Matrices of the real Fourier transform and of its inverse; rows and columns of the spectrum.

    The spectrum's real parts come first, then its imaginary ones.
    """
    axes = tuple(range(1, len(sizes) + 1))
    with torch.inference_mode(mode=False):  # for use outside of it, too
        positions = torch.eye(prod(sizes), dtype=torch.float64).unflatten(1, sizes)
        spectra = torch.fft.rfftn(positions, dim=axes, norm="ortho")
        shape = spectra.shape[1:]
        transform = torch.view_as_real(spectra).movedim(-1, 1).flatten(1).T
        units = torch.eye(2 * prod(shape), dtype=torch.float64).unflatten(1, (2, *shape))
        waves = torch.fft.irfftn(torch.complex(units[:, 0], units[:, 1]), s=sizes, dim=axes, norm="ortho")
        inverse = waves.flatten(1).T
        rows, columns = shape if len(shape) == 2 else (1, *shape)
        return (
            transform.to(device, dtype).contiguous(),
            inverse.to(device, dtype).contiguous(),
            (rows, columns),
        )
