"""The detector's model is found where it lies, fetched at most once, and never used damaged."""

import hashlib
import http.client
import io
import urllib.error
from pathlib import Path

import pytest

from cilf.errors import DetectorError
from cilf.face import detector_weights as module
from cilf.face.detector_weights import face_model

PUBLISHED = b"a model as Google would publish it"


class Network:
    """Stands in for urllib: counts the downloads."""

    def __init__(self) -> None:
        self.content: bytes | None = PUBLISHED
        self.downloads = 0

    def urlopen(self, url: str, timeout: float) -> io.BytesIO:
        assert url.startswith("https://storage.googleapis.com/mediapipe-models/")
        assert timeout > 0
        self.downloads += 1
        if self.content is None:
            raise urllib.error.URLError("Name or service not known")
        return io.BytesIO(self.content)


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Network:
    """A mediapipe wheel without a model, an empty cache, and a network."""
    network = Network()
    monkeypatch.delenv(module.VARIABLE, raising=False)
    monkeypatch.setattr(module, "_wheel_file", lambda: None)
    monkeypatch.setattr(module, "user_cache_path", lambda name: tmp_path / "cache" / name)
    monkeypatch.setattr(module, "SHA256", hashlib.sha256(PUBLISHED).hexdigest())
    monkeypatch.setattr(module.urllib.request, "urlopen", network.urlopen)
    return network


def cached_files(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_it_is_downloaded_once(network: Network, tmp_path: Path) -> None:
    assert face_model() == PUBLISHED
    network.content = None
    assert face_model() == PUBLISHED
    assert network.downloads == 1
    assert [path.name for path in cached_files(tmp_path)] == ["blaze_face_short_range.tflite"]


def test_a_damaged_copy_in_the_cache_is_replaced(network: Network, tmp_path: Path) -> None:
    face_model()
    (copy,) = cached_files(tmp_path)
    copy.write_bytes(PUBLISHED[:10])
    assert face_model() == PUBLISHED
    assert copy.read_bytes() == PUBLISHED


def test_a_damaged_download_is_refused_and_not_kept(network: Network, tmp_path: Path) -> None:
    network.content = b"<html>Please log in to the hotel's network</html>"
    with pytest.raises(DetectorError, match=module.VARIABLE):
        face_model()
    assert cached_files(tmp_path) == []


def test_without_a_network_the_sentence_says_what_to_do(network: Network) -> None:
    network.content = None
    with pytest.raises(DetectorError, match=module.VARIABLE) as raised:
        face_model()
    assert module.URL in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_cache_that_cannot_be_written_does_no_harm(network: Network, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert face_model() == PUBLISHED


def test_a_named_file_goes_before_all_others(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "given.tflite").write_bytes(b"given")
    (tmp_path / "named.tflite").write_bytes(b"named")
    (tmp_path / "wheel.tflite").write_bytes(b"wheel")
    monkeypatch.setattr(module, "_wheel_file", lambda: tmp_path / "wheel.tflite")
    assert face_model() == b"wheel"
    monkeypatch.setenv(module.VARIABLE, str(tmp_path / "named.tflite"))
    assert face_model() == b"named"
    assert face_model(tmp_path / "given.tflite") == b"given"
    assert network.downloads == 0


def test_a_named_file_that_is_missing_is_an_error(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / "nowhere.tflite"
    with pytest.raises(DetectorError, match=r"nowhere\.tflite"):
        face_model(missing)
    monkeypatch.setenv(module.VARIABLE, str(missing))
    with pytest.raises(DetectorError, match=module.VARIABLE):
        face_model()
    assert network.downloads == 0


def test_a_download_that_breaks_off_is_told(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    class Cut(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise http.client.IncompleteRead(b"half of")

    monkeypatch.setattr(module.urllib.request, "urlopen", lambda *_, **__: Cut())
    with pytest.raises(DetectorError, match="cannot be downloaded"):
        face_model()
