"""`cilf.dft`: the matrix products must filter as the FFT does."""

from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cilf.dft import FEW, DFTFilter
from cilf.fourierformer import PadMode, SpectralFilter

SIDE = st.integers(1, 9)


def agree(original: SpectralFilter, x: torch.Tensor) -> None:
    with torch.inference_mode():
        torch.testing.assert_close(DFTFilter(original)(x), original(x), rtol=1e-4, atol=1e-5)


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
    agree(original, torch.randn(2, 5, *sizes))


def test_many_positions_go_through_the_fft(monkeypatch: pytest.MonkeyPatch) -> None:
    original = SpectralFilter(3, 1, 3)
    agree(original, torch.randn(1, 3, FEW + 1))
    asked = []
    monkeypatch.setattr(original, "forward", lambda x: asked.append(x.shape) or x)
    quick = DFTFilter(original)
    quick(torch.randn(1, 3, FEW))
    assert not asked
    quick(torch.randn(1, 3, FEW + 1))
    assert asked


def test_works_outside_of_inference_mode_after_inside() -> None:
    quick = DFTFilter(SpectralFilter(4, 1, 1))
    with torch.inference_mode():
        quick(torch.randn(1, 4, 6))
    x = torch.randn(1, 4, 6, requires_grad=True)
    quick(x).sum().backward()
    assert x.grad is not None
