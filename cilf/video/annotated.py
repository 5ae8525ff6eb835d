"""The annotated video: every frame with boxes, numbers and ages, as an MP4 file without sound."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from cilf.errors import UsageError
from cilf.face.annotation import annotate
from cilf.face.boxes import Box
from cilf.photo_set.table import partial_path
from cilf.prediction import FacePrediction
from cilf.video.frames import Frame

# The first that FFmpeg has: x264's licence keeps it out of some builds. In both 4:2:0, which every player shows.
ENCODERS = ("libx264", "h264", "mpeg4")

# MPEG-4 takes up to 65,535 parts of a second; in these all usual frame rates are whole, 30,000/1001 a second too.
TIME_BASE = Fraction(1, 30_000)

Places = Sequence[tuple[float, dict[int, Box]]]
"""Times in seconds, ascending, and at each the boxes of the people in view by their numbers."""


def check_annotated(output: str | Path, source: Path) -> Path:
    """Make sure that an annotated video can be written to `output`, before any work is done for it.

    Raises:
        UsageError: the suffix is not .mp4, the folder may not be written to, or it is the video itself.
    """
    output = Path(output)
    if output.suffix.lower() != ".mp4":
        raise UsageError(f"'{output}' does not end in .mp4; give the annotated video this suffix")
    if output.is_dir() or not os.access(output.parent, os.W_OK):
        raise UsageError(f"'{output}' cannot be written; name a file in a folder that may be written to")
    if output.exists() and source.exists() and output.samefile(source):
        raise UsageError(f"'{output}' is the video itself; give the annotated one another name")
    return output


def annotated_frames(
    frames: Iterable[Frame], people: Sequence[FacePrediction], places: Places
) -> Iterator[Frame]:
    """Draw the people's boxes, with the numbers that the table has for them (from 0) and their ages, onto every frame.

    Args:
        frames: of the video, in their order.
        people: by their numbers, which count from 1.
        places: where they were in some of the frames; between two of them a box moves evenly.
    """
    index = 0
    for frame in frames:
        while index + 1 < len(places) and places[index + 1][0] <= frame.at:
            index += 1
        boxes = _boxes_at(frame.at, places[index], places[min(index + 1, len(places) - 1)])
        faces = [replace(people[number - 1], box=box) for number, box in boxes.items()]
        yield Frame(frame.at, annotate(frame.pixels, faces, None, [number - 1 for number in boxes]))


def _boxes_at(
    at: float, before: tuple[float, dict[int, Box]], after: tuple[float, dict[int, Box]]
) -> dict[int, Box]:
    """The boxes of those in view at a time between two others."""
    share = (at - before[0]) / (after[0] - before[0]) if after[0] > before[0] else 0.0
    boxes = {}
    for number, box in before[1].items():
        ends = np.array(box), np.array(after[1].get(number, box))
        boxes[number] = Box(*((1 - share) * ends[0] + share * ends[1]).tolist())
    return boxes


def write_video(frames: Iterable[Frame], output: Path, rate: Fraction) -> None:
    """Write frames, all of one size, to an MP4 file, which appears under its name when it is complete.

    Args:
        frames: with their times, which are kept.
        output: see `check_annotated`.
        rate: frames a second, about.

    Raises:
        UsageError: the disk is full, or this build of PyAV has none of the `ENCODERS`.
    """
    import av

    partial = partial_path(output)
    try:
        with av.open(str(partial), "w", format="mp4") as container:
            stream: Any = None
            pts = -1
            for frame in frames:
                # An encoder of 4:2:0 takes even sides: an odd one loses its last pixel.
                height, width = (side // 2 * 2 for side in frame.pixels.shape[:2])
                if stream is None:
                    stream = container.add_stream(_encoder(), rate=rate)
                    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                    stream.codec_context.time_base = TIME_BASE
                pixels = np.ascontiguousarray(frame.pixels[:height, :width])
                picture = av.VideoFrame.from_ndarray(pixels, "rgb24")
                pts = max(round(frame.at / TIME_BASE), pts + 1)
                picture.pts, picture.time_base = pts, TIME_BASE
                container.mux(stream.encode(picture))
            if stream is not None:
                container.mux(stream.encode())
        partial.replace(output)
    except (OSError, av.FFmpegError) as error:
        raise UsageError(
            f"the annotated video '{output}' cannot be written ({error}); check the disk"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _encoder() -> str:
    import av

    for name in ENCODERS:
        if name in av.codecs_available:
            try:
                return av.Codec(name, "w").name
            except ValueError:  # a decoder alone
                continue
    raise UsageError(f"this build of PyAV encodes none of {', '.join(ENCODERS)}; install another one")
