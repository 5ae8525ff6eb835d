"""The child process of `cilf.video.frames`: `python -m cilf.video.decoder RATE SECONDS`, with a video file as stdin.

A video may come from anybody, and FFmpeg's decoders are large: what crashes, hangs or takes too much memory here harms
nobody. Records go out at stdout, each a line of JSON: first `width`, `height`, `rate` and `frames` of the video; then,
for every frame, `at` in seconds, followed by its pixels; or `problem`, the rest of a sentence about the file, and the
end.
"""

import json
import math
import os
import sys
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from typing import Any, BinaryIO

import av
import numpy as np

from cilf.child_process import limit_resources
from cilf.errors import PhotoError

# What phones, cameras, screen recorders and browsers write.
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm"
CODECS = ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4")
_DECODERS = (*CODECS, "libvpx", "libvpx-vp9", "libdav1d")

# The widest 4K, 4096×2304: a decoder keeps up to 17 such frames, of 28 MB each in 10 bits.
MAX_PIXELS = 4096 * 2304
MIN_SIDE = 16  # as of a photo
MAX_MEMORY = 2 << 30

# Frames a second: slow motion of phones.
MAX_RATE = 240

# Seconds of computing for each second of video, and to start with: a slow core decodes 4K at a quarter of its speed.
CPU_EACH, CPU_START = 4, 30

_OTHER = "give a short MP4, MOV, WebM or MKV file"


def main() -> None:
    """Decode the file at stdin, and send about RATE frames a second of it, or with 0 every frame."""
    rate, seconds = float(sys.argv[1]), int(sys.argv[2])
    limit_resources(MAX_MEMORY, CPU_START + CPU_EACH * seconds)
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # for what libraries print
    try:
        _send(sys.stdin.buffer, output, rate, seconds)
    except PhotoError as problem:
        _record(output, problem=str(problem))
    except BrokenPipeError:
        os._exit(0)  # nobody wants more


def _send(file: BinaryIO, output: BinaryIO, rate: float, seconds: int) -> None:
    options = {"format_whitelist": CONTAINERS, "codec_whitelist": ",".join(_DECODERS)}
    try:
        container = av.open(file, "r", options=options | {"max_pixels": str(MAX_PIXELS)})
    except (av.FFmpegError, ValueError):
        raise PhotoError(f"is no video in a known format; {_OTHER}") from None
    with container:
        stream = _video_stream(container)
        if container.duration is not None and container.duration > seconds * av.time_base:
            raise PhotoError(_too_long(seconds))
        frames = _sampled(_frames(container, stream), rate, seconds)
        first = next(frames, None)
        if first is None:
            raise PhotoError(f"holds no frame that can be decoded; {_OTHER}")
        size, turns = (first[1].width, first[1].height), round(first[1].rotation / 90) % 4
        width, height = size[::-1] if turns % 2 else size
        _record(output, width=width, height=height, **_timing(container, stream, rate))
        for at, frame in chain([first], frames):
            _check_size(frame.width, frame.height)
            # A frame of another size is scaled to that of the first one.
            pixels = frame.to_ndarray(format="rgb24", width=size[0], height=size[1])
            _record(output, at=at)
            output.write(np.ascontiguousarray(np.rot90(pixels, turns)).data)
            output.flush()


def _video_stream(container: Any) -> Any:
    """The first stream of pictures, cover art left out."""
    streams = container.streams.video
    names = [each.codec_context.codec.canonical_name if each.codec_context else "unknown" for each in streams]
    known = [each for each, name in zip(streams, names, strict=True) if name in CODECS]
    if not known:
        what = f"is coded as {names[0]}" if names else "holds no pictures"
        raise PhotoError(f"{what}; give a video coded as {', '.join(CODECS[:-1])} or {CODECS[-1]}")
    stream = known[0]
    _check_size(stream.codec_context.width, stream.codec_context.height)
    stream.codec_context.thread_count = 1  # the other cores are for the faces
    return stream


def _timing(container: Any, stream: Any, rate: float) -> dict[str, Any]:
    """The frame rate as a fraction, and how many frames will come; None where the file does not say how long it is."""
    own = Fraction(stream.average_rate or stream.guessed_rate or 30)
    own = min(max(own, Fraction(1)), Fraction(MAX_RATE)).limit_denominator(1001)
    if container.duration is None:
        return {"rate": str(own), "frames": None}
    count = math.ceil(container.duration / av.time_base * min(rate or own, own))
    return {"rate": str(own), "frames": max(1, count)}


def _frames(container: Any, stream: Any) -> Iterator[Any]:
    """Every frame; a damaged packet is passed over, and at a damaged container it ends."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            return
        if packet is None:
            return
        try:
            yield from packet.decode()
        except av.FFmpegError:
            continue


def _sampled(frames: Iterator[Any], rate: float, seconds: int) -> Iterator[tuple[float, Any]]:
    """About `rate` frames a second, or all, each with its time in seconds since the first one.

    Raises:
        PhotoError: there are more than `seconds` hold, or they last longer.
    """
    start = last = due = 0.0
    for number, frame in enumerate(frames):
        at = float(frame.time) if frame.time is not None else start + last
        if number == 0:
            start = at
        last = max(at - start, last)
        if last > seconds or number > seconds * MAX_RATE:
            raise PhotoError(_too_long(seconds))
        # A frame a little before its time is the nearest one.
        if last >= due - 1e-3 or not rate:
            yield last, frame
            step = 1 / rate if rate else 0.0
            due = due + step if last < due + step else last + step


def _check_size(width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE or width * height > MAX_PIXELS:
        raise PhotoError(f"has frames of {width}×{height} pixels; give a video of 16×16 to 4096×2304")


def _too_long(seconds: int) -> str:
    return f"is longer than {seconds} seconds; cut it"


def _record(output: BinaryIO, **content: Any) -> None:
    output.write(json.dumps(content).encode() + b"\n")
    output.flush()


if __name__ == "__main__":
    main()
