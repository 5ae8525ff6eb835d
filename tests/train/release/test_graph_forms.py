"""`train.release.graph_forms`: the matrix products must filter as the FFT does, and means norm as layer norm does."""

from typing import Literal

import torch
from hypothesis import given
from hypothesis import strategies as st

from cilf.model.config import PadMode
from cilf.model.fourierformer import ChannelNorm, SpectralFilter
from tests import tiny
from train.release.graph_forms import DFTFilter, PlainChannelNorm, to_graph_forms

SIDE = st.integers(1, 9)


@given(
    st.one_of(st.tuples(SIDE), st.tuples(SIDE, SIDE)),
    st.sampled_from([1, 3]),
    st.sampled_from(["circular", "zeros"]),
    st.integers(0, 9),
)
def test_filters_as_the_fft_does(
    sizes: tuple[int, ...], kernel_size: Literal[1, 3], pad_mode: PadMode, seed: int
) -> None:
    torch.manual_seed(seed)
    original = SpectralFilter(5, len(sizes), kernel_size, pad_mode)
    products = DFTFilter(original, sizes)
    x = torch.randn(2, 5, *sizes)
    torch.testing.assert_close(products(x), original(x), rtol=1e-4, atol=1e-5)


@given(st.one_of(st.tuples(SIDE), st.tuples(SIDE, SIDE)), st.integers(1, 9), st.integers(0, 9))
def test_norms_as_layer_norm_does(sizes: tuple[int, ...], channels: int, seed: int) -> None:
    torch.manual_seed(seed)
    original, x = ChannelNorm(channels), 3 * torch.randn(2, channels, *sizes) + 1
    with torch.no_grad():
        original.weight.normal_()
        original.bias.normal_()
    torch.testing.assert_close(PlainChannelNorm(original)(x), original(x), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_model_of_products_has_the_same_weights_and_says_the_same() -> None:
    model, pixels = tiny.model(), torch.rand(2, 3, 64, 64)
    age_text = model.encode_ages()
    names, wanted = set(model.state_dict()), model(pixels, age_text)
    to_graph_forms(model, pixels, age_text)
    found = model(pixels, age_text)
    assert not any(isinstance(module, SpectralFilter | ChannelNorm) for module in model.modules())
    assert set(model.state_dict()) == names
    torch.testing.assert_close(found.estimate.logits, wanted.estimate.logits, rtol=1e-4, atol=1e-4)
