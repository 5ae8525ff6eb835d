"""Large photos at once: they take turns, and what they took is given back."""

import io
import json
import os
import struct
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from cilf.demo.uploads.pixel_budget import PixelBudget

ROOT = Path(__file__).parents[3]
GIGABYTE = 1 << 30

# The page's own way of a photo, from four threads: decode, work on smaller levels, keep what is in view. Prints the
# bytes that the process has taken beyond those at rest: at most, and when all is forgotten.
FOUR_AT_ONCE = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from cilf.demo.uploads.images import Upload

def memory(name):
    [line] = [line for line in open("/proc/self/status") if line.startswith(name)]
    return int(line.split()[1]) << 10

def show(path):
    upload = Upload(path.name, path.read_bytes())
    with upload.decoded() as photo:
        photo.resizer(800, 600)()
        return photo.pixels

files = [Path(name) for name in sys.argv[1:]]
show(files[0])  # imports what decoding takes; as small as the others are large
rest = memory("VmRSS")
with ThreadPoolExecutor(4) as threads:
    in_view = list(threads.map(show, files[1:]))
peak = memory("VmHWM")
assert all(pixels.shape[1] == 6000 for pixels in in_view), [pixels.shape for pixels in in_view]
in_view.clear()
print(json.dumps([peak - rest, memory("VmRSS") - rest]))
"""


def plain_png(width: int, height: int) -> bytes:
    """A black PNG, RGB, of a multiple of 100 rows: one packed block, again and again."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    length = (1 + 3 * width) * 100
    packer = zlib.compressobj(wbits=-15)
    block = packer.compress(bytes(length)) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = (height // 100 * length % 65521 << 16) + 1  # Adler-32 of as many zeros
    content = b"\x78\x9c" + block * (height // 100) + packer.flush() + struct.pack(">I", checksum)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_four_photos_of_120_megapixels_at_once_stay_within_a_gigabyte(tmp_path: Path) -> None:
    small, png, jpeg = (tmp_path / name for name in ("small.png", "large.png", "large.jpg"))
    Image.new("RGB", (64, 64)).save(small)
    png.write_bytes(plain_png(12_000, 10_000))
    buffer = io.BytesIO()
    Image.new("L", (12_000, 10_000)).save(buffer, "JPEG")
    jpeg.write_bytes(buffer.getvalue())
    assert png.stat().st_size < 2_000_000
    command = [sys.executable, "-c", FOUR_AT_ONCE, small, png, jpeg, png, jpeg]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    peak, kept = json.loads(done.stdout.splitlines()[-1])
    assert peak < GIGABYTE
    assert kept < GIGABYTE // 8


def test_photos_wait_until_their_pixels_have_room() -> None:
    budget, at_once, most, lock = PixelBudget(100), 0, 0, threading.Lock()

    def work(pixels: int) -> None:
        nonlocal at_once, most
        with budget.hold(pixels):
            with lock:
                at_once += min(pixels, 100)
                most = max(most, at_once)
            threading.Event().wait(0.01)
            with lock:
                at_once -= min(pixels, 100)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, [60, 30, 10, 70, 100, 5000, 40, 40] * 3))
    assert most == 100


def test_a_photo_that_cannot_be_read_gives_its_room_back() -> None:
    budget = PixelBudget(100)
    for _ in range(3):
        with pytest.raises(ValueError, match="damaged"), budget.hold(100):
            raise ValueError("damaged")
    with budget.hold(100):
        pass
