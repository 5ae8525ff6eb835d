"""Decoding short videos: which frames come, upright and in time, and what a bad file is answered with."""

import io
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from cilf.errors import PhotoError, UsageError
from cilf.video import frames
from cilf.video.frames import SAMPLING, Frame, Video
from tests.video.clips import RATE, SIZE, blank, write_clip

ROOT = Path(__file__).parents[2]


def decoded(path: Path, rate: float = SAMPLING, seconds: int = 10) -> list[Frame]:
    with path.open("rb") as file, Video(file, path.name, rate, seconds) as video:
        return list(video)


def problem(path: Path, seconds: int = 10) -> str:
    with pytest.raises(PhotoError) as caught:
        decoded(path, seconds=seconds)
    return str(caught.value)


def brightening(count: int) -> Iterator[np.ndarray]:
    return (np.full((SIZE[1], SIZE[0], 3), 20 + 4 * number, np.uint8) for number in range(count))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        (".mp4", "libx264"),
        (".mov", "mpeg4"),
        (".mkv", "libx265"),
        (".webm", "libvpx"),
        (".webm", "libvpx-vp9"),
        (".mp4", "libsvtav1"),
    ],
)
def test_every_container_and_codec(tmp_path: Path, suffix: str, codec: str) -> None:
    clip = write_clip(tmp_path / f"clip{suffix}", brightening(RATE), codec)
    with clip.open("rb") as file, Video(file, "clip", 0) as video:
        assert (video.width, video.height, video.rate) == (*SIZE, RATE)
        shown = list(video)
    assert len(shown) == RATE
    assert [frame.at for frame in shown] == pytest.approx(np.arange(RATE) / RATE, abs=2e-3)
    assert [frame.pixels.mean() for frame in shown] == pytest.approx(20 + 4 * np.arange(RATE), abs=4)


@pytest.mark.slow
@pytest.mark.parametrize("rate", [5, 24, 25, 60])
def test_six_frames_a_second_are_sampled(tmp_path: Path, rate: int) -> None:
    clip = write_clip(tmp_path / "clip.mp4", blank(2 * rate), rate=rate)
    times = [frame.at for frame in decoded(clip)]
    assert len(times) == 2 * min(rate, SAMPLING)
    assert np.diff(times).max() <= 1 / min(rate, SAMPLING) + 1 / rate


def test_a_video_can_be_decoded_twice_from_one_open_file(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", blank(12))
    with clip.open("rb") as file:
        for _ in range(2):
            with Video(file, "clip", 0) as video:
                assert len(list(video)) == 12


@pytest.mark.slow
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_frames_are_upright(tmp_path: Path, turns: int) -> None:
    upright = np.full((SIZE[1], SIZE[0], 3), 40, np.uint8)
    upright[:60, :80] = 220
    stored = np.rot90(upright, -turns)
    size = stored.shape[1], stored.shape[0]
    clip = write_clip(tmp_path / "clip.mp4", [stored] * 12, rotation=90 * turns, size=size)
    for frame in decoded(clip):
        assert frame.pixels.shape == upright.shape
        assert np.abs(frame.pixels.astype(int) - upright).mean() < 4


def test_frames_of_another_size_are_scaled_to_the_first(tmp_path: Path) -> None:
    parts = [write_clip(tmp_path / f"{side}.h264", [np.zeros((side, side, 3), np.uint8)] * 6, size=(side, side))
             for side in (128, 256)]  # fmt: skip
    joined = tmp_path / "clip.mkv"
    remux(b"".join(part.read_bytes() for part in parts), joined)
    shown = decoded(joined)
    assert shown
    assert {frame.pixels.shape for frame in shown} == {(128, 128, 3)}


def remux(h264: bytes, path: Path) -> None:
    """Put a raw stream into a container."""
    import av

    with av.open(io.BytesIO(h264), format="h264") as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size:
                packet.stream = stream
                packet.pts = packet.dts = number * 40
                packet.duration = 40
                packet.time_base = Fraction(1, 1000)
                target.mux(packet)


def test_a_video_that_breaks_off_shows_what_is_there(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", brightening(48))
    whole = len(decoded(clip))
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    assert 0 < len(decoded(clip)) < whole


class TestBadFiles:
    @pytest.mark.parametrize(
        "content", [b"", b"Not a video.\n" * 100, b"\x00" * 4096, b"#EXTM3U\n#EXTINF:1,\nother.mp4\n"]
    )
    def test_no_video(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "clip.mp4"
        path.write_bytes(content)
        sentence = "is no video in a known format; give a short MP4, MOV, WebM or MKV file"
        assert problem(path) == f"'clip.mp4' {sentence}"

    def test_a_list_of_other_files_is_not_followed(self, tmp_path: Path) -> None:
        write_clip(tmp_path / "other.mp4", blank(12))
        path = tmp_path / "clip.mp4"
        path.write_text("ffconcat version 1.0\nfile other.mp4\n")
        assert "no video in a known format" in problem(path)

    def test_a_container_or_codec_that_is_not_listed(self, tmp_path: Path) -> None:
        clip = write_clip(tmp_path / "clip.avi", blank(12), "mpeg4")
        assert "no video in a known format" in problem(clip)
        clip = write_clip(tmp_path / "clip.mkv", blank(12), "ffv1")
        assert problem(clip).startswith("'clip.mkv' is coded as ffv1; give a video coded as h264,")

    def test_sound_alone(self, tmp_path: Path) -> None:
        import av

        path = tmp_path / "clip.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=16_000, layout="mono")
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            sound.sample_rate = 16_000
            container.mux(stream.encode(sound))
            container.mux(stream.encode())
        assert problem(path).startswith("'clip.mp4' holds no pictures")

    def test_too_long(self, tmp_path: Path) -> None:
        clip = write_clip(tmp_path / "clip.mp4", blank(5), rate=1)
        assert problem(clip, seconds=4) == "'clip.mp4' is longer than 4 seconds; cut it"

    def test_longer_than_it_says(self, tmp_path: Path) -> None:
        clip = write_clip(tmp_path / "clip.mkv", blank(5), rate=1)
        content = clip.read_bytes()
        assert content.count(b"\x44\x89\x88") == 1  # Duration, eight bytes
        start = content.index(b"\x44\x89\x88") + 3
        clip.write_bytes(content[:start] + struct.pack(">d", 1000.0) + content[start + 8 :])
        assert problem(clip, seconds=3) == "'clip.mkv' is longer than 3 seconds; cut it"

    def test_too_large(self, tmp_path: Path) -> None:
        frame = np.zeros((2320, 4112, 3), np.uint8)
        clip = write_clip(tmp_path / "clip.mp4", [frame], size=(4112, 2320))
        sentence = "has frames of 4112×2320 pixels; give a video of 16×16 to 4096×2304"
        assert problem(clip) == f"'clip.mp4' {sentence}"

    def test_a_header_that_claims_huge_frames(self, tmp_path: Path) -> None:
        clip = write_clip(tmp_path / "clip.mp4", blank(12), "mpeg4")
        content = clip.read_bytes()
        start = content.index(b"mp4v") + 28  # width and height in the sample description
        assert struct.unpack(">HH", content[start : start + 4]) == SIZE
        clip.write_bytes(content[:start] + b"\xff\xff\xff\xff" + content[start + 4 :])
        assert {frame.pixels.shape for frame in decoded(clip)} == {(SIZE[1], SIZE[0], 3)}

    def test_no_frame_that_can_be_decoded(self, tmp_path: Path) -> None:
        clip = write_clip(tmp_path / "clip.mp4", blank(12))
        content = bytearray(clip.read_bytes())
        start = content.index(b"mdat") + 4
        end = content.index(b"moov") - 4
        content[start:end] = bytes(end - start)
        clip.write_bytes(content)
        assert problem(clip).startswith("'clip.mp4' ")

    def test_a_decoder_that_dies(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        clip = write_clip(tmp_path / "clip.mp4", blank(12))
        monkeypatch.setattr(frames, "module_command", lambda *_: ["false"])
        assert problem(clip).startswith("'clip.mp4' ended the process that decoded it")

    @pytest.mark.slow
    def test_the_decoder_may_not_compute_for_ever(self, tmp_path: Path) -> None:
        """`limit_resources` in a process that never ends."""
        assert limited("limit_resources(1 << 30, 1)\nwhile True: pass") < 0

    @pytest.mark.slow
    def test_the_decoder_may_not_take_all_memory(self) -> None:
        assert limited("limit_resources(1 << 28, 60)\nbytearray(1 << 26)") == 0
        assert limited("limit_resources(1 << 28, 60)\nbytearray(1 << 29)") == 1


def limited(program: str) -> int:
    """The exit status of a program of `limit_resources` and more."""
    program = f"from cilf.child_process import limit_resources\n{program}"
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode


def test_without_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "find_spec", lambda name: None)
    with tempfile.TemporaryFile() as file, pytest.raises(UsageError, match=r"pip install -e '\.\[video\]'"):
        Video(file, "clip.mp4")


def test_nothing_runs_on_when_a_video_is_left(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", blank(240))
    with clip.open("rb") as file, Video(file, "clip", 0) as video:
        assert video.next_frame() is not None
    assert video._process.returncode is not None
