"""Short videos of the two portraits of the public domain, panned over a plain background."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import av
import numpy as np
import skimage.data
from matplotlib.cbook import get_sample_data
from PIL import Image

SIZE = 320, 240
RATE = 24


def portraits() -> list[np.ndarray]:
    """Two people, cut to head and shoulders."""
    with get_sample_data("grace_hopper.jpg") as file:
        hopper = Image.open(file).convert("RGB")
    heads = (
        hopper.crop((60, 0, 460, 460)),
        Image.fromarray(skimage.data.astronaut()).crop((100, 0, 350, 290)),
    )
    return [np.asarray(head.resize((130, 150))) for head in heads]


def panned(people: Sequence[np.ndarray], frames: int) -> Iterator[np.ndarray]:
    """The people side by side, moving to the right."""
    for number in range(frames):
        frame = np.full((SIZE[1], SIZE[0], 3), 120, np.uint8)
        for place, person in enumerate(people):
            left = 5 + place * 150 + number // 4
            frame[40:190, left : left + 130] = person[:, : SIZE[0] - left]
        yield frame


def blank(frames: int, value: int = 120) -> Iterator[np.ndarray]:
    """Frames that show nobody."""
    return (np.full((SIZE[1], SIZE[0], 3), value, np.uint8) for _ in range(frames))


def write_clip(
    path: Path,
    frames: Iterable[np.ndarray],
    codec: str = "libx264",
    rate: int = RATE,
    rotation: int | None = None,
    size: tuple[int, int] = SIZE,
) -> Path:
    """Write frames (HxWx3 uint8 RGB) to a file; `rotation` is by how many degrees players turn it counterclockwise."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")))
        container.mux(stream.encode())
    return path
