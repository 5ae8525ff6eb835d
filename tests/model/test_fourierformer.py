"""FourierFormer: what the transform and the block promise for any grid (METHOD 14)."""

from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from cilf.model.config import FusionConfig
from cilf.model.fourierformer import FourierFormerBlock, FourierFusion, SpectralFilter

SIDES = st.integers(min_value=2, max_value=9)


def identity(filtering: SpectralFilter) -> SpectralFilter:
    """Both networks pass everything on; inputs must be positive, as LeakyReLU bends the rest."""
    for network in (filtering.real, filtering.imaginary):
        for layer in network:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
            middle = tuple(side // 2 for side in layer.kernel_size)
            channels = range(layer.out_channels)
            for channel in channels:
                source = 0 if layer.groups > 1 else channel
                layer.weight.data[(channel, source, *middle)] = 1.0
    return filtering


@settings(max_examples=30, deadline=None)
@given(rows=SIDES, columns=SIDES, kernel=st.sampled_from([1, 3]), pad=st.sampled_from(["circular", "zeros"]))
def test_transform_and_back_gives_the_input(rows: int, columns: int, kernel: int, pad: str) -> None:
    """Identity filters, also with odd sides. The activation between them is taken out by making it linear."""
    filtering = identity(SpectralFilter(3, 2, kernel, pad))
    x = torch.randn(2, 3, rows, columns, dtype=torch.float64)
    filtering.double()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.nn.functional.leaky_relu", lambda value, _: value)
        torch.testing.assert_close(filtering(x), x)


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("kernel_size", [1, 3])
def test_filter_is_the_formula(dims: int, kernel_size: Literal[1, 3]) -> None:
    """One network through the spectrum's real part, the other through its imaginary one, as METHOD 4.4 writes it."""
    filtering = SpectralFilter(3, dims, kernel_size, "zeros").double()
    x = torch.randn(2, 3, *(6, 7)[:dims], dtype=torch.float64)
    axes = tuple(range(2, 2 + dims))
    spectrum = torch.fft.rfftn(x, dim=axes, norm="ortho")

    def through(network: nn.ModuleList, part: torch.Tensor) -> torch.Tensor:
        for layer in network:
            layer.padding = (kernel_size // 2,) * dims
        first, second = network
        return second(F.leaky_relu(first(part), 0.1))

    parts = through(filtering.real, spectrum.real), through(filtering.imaginary, spectrum.imag)
    wanted = torch.fft.irfftn(torch.complex(*parts), s=x.shape[2:], dim=axes, norm="ortho")
    torch.testing.assert_close(filtering(x), wanted)


@pytest.mark.parametrize("dims", [1, 2])
def test_block_without_gain_is_the_identity(dims: int) -> None:
    block = FourierFormerBlock(4, dims, layer_scale=0.0)
    x = torch.randn(2, 4, *(5, 7)[:dims])
    torch.testing.assert_close(block(x), x, rtol=0, atol=0)


@pytest.mark.parametrize("pad", ["circular", "zeros"])
def test_one_changed_cell_reaches_every_cell(pad: str) -> None:
    torch.manual_seed(0)
    block = FourierFormerBlock(4, 2, layer_scale=1.0, pad_mode=pad).double()
    x = torch.randn(1, 4, 7, 7, dtype=torch.float64)
    changed = x.clone()
    changed[0, :, 3, 2] += torch.randn(4, dtype=torch.float64)
    moved = (block(changed) - block(x)).abs().sum(dim=(0, 1))
    assert (moved > 1e-9).all()


def test_gradients_are_those_of_the_function() -> None:
    torch.manual_seed(0)
    block = FourierFormerBlock(2, 2, layer_scale=0.5).double()
    x = torch.randn(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block, (x,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_filter_keeps_the_dtype(dtype: torch.dtype) -> None:
    filtering = SpectralFilter(2, 2, 1)
    if dtype == torch.float64:
        filtering.double()
    assert filtering(torch.randn(1, 2, 5, 4, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("sizes", [(6,), (5,), (4, 6), (4, 5), (3, 6), (3, 5)])
def test_imaginary_part_of_self_conjugate_bins_is_dropped_not_folded(sizes: tuple[int, ...]) -> None:
    """A filter may break the Hermitian symmetry at the constant and the Nyquist bins; the real signal is that of the
    full spectrum which has their real parts alone (METHOD 4.4)."""
    dims = len(sizes)
    filtering = identity(SpectralFilter(1, dims, 1)).double()
    x = torch.rand(1, 1, *sizes, dtype=torch.float64)
    filtering.imaginary[1].bias.data += 1.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.nn.functional.leaky_relu", lambda value, _: value)
        found = filtering(x)
    half = torch.fft.rfftn(x, dim=tuple(range(2, 2 + dims)), norm="ortho") + 1j
    if dims == 2:
        half = torch.fft.ifft(half, dim=2, norm="ortho")
    last = sizes[-1]
    ends = [half[..., :1].real + 0j, half[..., last // 2 :].real + 0j if last % 2 == 0 else half[..., :0]]
    inner = half[..., 1 : (last + 1) // 2]
    full = torch.cat([ends[0], inner, ends[1], inner.flip(-1).conj()], dim=-1)
    signal = torch.fft.ifft(full, dim=-1, norm="ortho")
    assert signal.imag.abs().max() < 1e-12
    torch.testing.assert_close(found, signal.real)


def test_fusion_starts_at_the_plain_image_embedding_and_has_unit_length() -> None:
    torch.manual_seed(0)
    fusion = FourierFusion(8, 5, FusionConfig(width=12))
    image, grid = torch.randn(2, 8), torch.randn(2, 8, 3, 3)
    text = nn.functional.normalize(torch.randn(5, 8), dim=-1)
    fused = fusion(image, grid, text)
    torch.testing.assert_close(fused.image, nn.functional.normalize(image, dim=-1))
    nn.init.normal_(fusion.grid_out.weight)
    fused = fusion(image, grid, text)
    assert not torch.allclose(fused.image, nn.functional.normalize(image, dim=-1))
    torch.testing.assert_close(fused.image.norm(dim=-1), torch.ones(2))
    assert fused.text.shape == (2, 5, 8)
    assert fused.scores.abs().max() <= 1 + 1e-6


def test_text_changes_the_fused_image_embedding() -> None:
    """The fusion is one of image and text: other age prompts give another image embedding."""
    torch.manual_seed(0)
    fusion = FourierFusion(8, 5, FusionConfig(width=12, layer_scale=1.0))
    nn.init.normal_(fusion.grid_out.weight)
    image, grid = torch.randn(1, 8), torch.randn(1, 8, 3, 3)
    first, second = (nn.functional.normalize(torch.randn(5, 8), dim=-1) for _ in range(2))
    assert not torch.allclose(fusion(image, grid, first).image, fusion(image, grid, second).image)


def units(*shape: int) -> torch.Tensor:
    return F.normalize(torch.randn(*shape), dim=-1)


def test_tokens_are_read_where_they_were_written() -> None:
    """Without blocks nothing is mixed: v of an age comes from its own prompt, and a cell's share from its own cell."""
    torch.manual_seed(0)
    fusion = FourierFusion(8, 5, FusionConfig(width=12, image_blocks=0, fusion_blocks=0)).eval()
    nn.init.normal_(fusion.grid_out.weight)
    image, grid, text = torch.randn(2, 8), torch.randn(2, 8, 3, 3), units(5, 8)
    fused = fusion(image, grid, text)
    alone = fusion.text_out(fusion.text_in(text) + fusion.tags[0])
    torch.testing.assert_close(fused.text, alone.expand(2, -1, -1))
    changed = grid.clone()
    changed[:, :, 2, 0] += 1
    moved = (fusion(image, changed, text).grid - fused.grid).abs().sum(dim=1) > 1e-6
    assert moved[:, 2, 0].all()
    assert moved.sum() == 2


def test_prompts_are_tokens_of_the_sequence() -> None:
    """They change the fused embedding also where the cosines of the grid are not read (F2 without F1)."""
    torch.manual_seed(0)
    fusion = FourierFusion(8, 5, FusionConfig(width=12, fusion_blocks=1, layer_scale=1.0))
    nn.init.normal_(fusion.grid_out.weight)
    fusion.grid_in.weight.data[:, 8:] = 0
    image, grid = torch.randn(1, 8), torch.randn(1, 8, 3, 3)
    first, second = (fusion(image, grid, units(5, 8)).image for _ in range(2))
    assert not torch.allclose(first, second, atol=1e-4)


def test_the_mean_share_has_the_learned_length_and_no_other() -> None:
    torch.manual_seed(0)
    fusion = FourierFusion(8, 5, FusionConfig(width=12, gain=0.3))
    image, grid, text = torch.randn(2, 8), torch.randn(2, 8, 3, 3), units(5, 8)
    fused = fusion(image, grid, text)
    torch.testing.assert_close(fused.grid.mean(dim=(2, 3)).norm(dim=1), torch.full((2,), 0.3))
    torch.testing.assert_close(fused.image, F.normalize(fused.tower + 0.3 * fused.shares, dim=-1))
    fusion.grid_out.weight.data *= 100
    torch.testing.assert_close(fusion(image, grid, text).image, fused.image)


def test_cosines_of_cells_and_ages_keep_their_precision() -> None:
    fusion = FourierFusion(8, 5, FusionConfig(width=12))
    with torch.autocast("cpu", torch.bfloat16):
        fused = fusion(torch.randn(1, 8), torch.randn(1, 8, 3, 3), units(5, 8))
    assert fused.scores.dtype == torch.float32
