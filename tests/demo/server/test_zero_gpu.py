"""`cilf.demo.server.zero_gpu`: a GPU is asked for on ZeroGPU alone. `spaces` is a stand-in here, as it works there
only."""

import sys
from types import ModuleType

import pytest

from cilf.demo.server import zero_gpu


def work() -> str:
    return "done"


@pytest.fixture
def spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package as every Space has it; its decorator marks what it lends a GPU to."""
    package = ModuleType("spaces")
    package.__spec__ = object()  # type: ignore[assignment]  # what `find_spec` looks for
    package.GPU = lambda work: lambda: f"{work()} on a GPU"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "spaces", package)


@pytest.mark.usefixtures("spaces")
def test_on_zero_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    assert zero_gpu.is_here()
    assert zero_gpu.on_gpu(work)() == "done on a GPU"


@pytest.mark.usefixtures("spaces")
def test_on_another_space(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is there, but waiting for the weights, as ZeroGPU wants it, would only keep visitors out."""
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    assert not zero_gpu.is_here()
    assert zero_gpu.on_gpu(work) is work


def test_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    assert not zero_gpu.is_here()
    assert zero_gpu.on_gpu(work) is work
