"""Where a product of matrices overtakes the FFT: `pytest tests/benchmarks/test_dft.py -s`. Medians of one run."""

from functools import partial

import pytest
import torch

from cilf import dft
from cilf.dft import DFTFilter
from cilf.fourierformer import SpectralFilter
from tests.benchmarks.test_speed import milliseconds

CHANNELS = 128


def test_where_the_fft_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dft, "FEW", 10**6)
    torch.set_num_threads(2)
    lines = [f"{'positions':12}{'FFT':>10}{'product':>10}   both filters of a block, {CHANNELS} channels"]
    with torch.inference_mode():
        for sizes in [(8, 8), (14, 14), (20, 20), (28, 28), (64,), (180,), (300,), (512,)]:
            filters = [SpectralFilter(CHANNELS, len(sizes), kernel_size) for kernel_size in (1, 3)]
            x = torch.randn(1, CHANNELS, *sizes)
            times = [
                sum(milliseconds(partial(one, x)) for one in group)
                for group in (filters, map(DFTFilter, filters))
            ]
            lines.append(f"{'×'.join(map(str, sizes)):12}" + "".join(f"{time:7.2f} ms" for time in times))
    print("\n" + "\n".join(lines))
