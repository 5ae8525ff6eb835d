"""Opening a photo safely: formats, EXIF turn, size limits, and 8-bit RGB at the end."""

import io
import re
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from cilf.errors import PhotoError
from cilf.face.pyramid import Pyramid

PhotoSource = str | Path | Image.Image | np.ndarray

# What cameras, phones and the web write. Pillow knows more formats, which nobody needs here: EPS it would hand to
# Ghostscript, a program that runs as long as the file tells it to.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "HEIF", "TIFF", "BMP", "GIF")

# 120 megapixels are 360 MB as RGB: above every phone and camera in common use (108 MP), far below what a decompression
# bomb unpacks to (20,000 x 20,000 = 400 MP).
MAX_PIXELS = 120_000_000

# The largest pictures of formats whose decoders take more memory: bytes a pixel, measured with Pillow 12 at 10
# megapixels, are 4 for PNG and BMP, 7 to 10 for JPEG, 12 for AVIF and JPEG in CMYK, 8 for HEIF and TIFF in one piece,
# 16 for WebP. So no decoder takes more than a gigabyte.
MAX_PIXELS_OF = {"WEBP": 50_000_000, "AVIF": 70_000_000, "HEIF": 100_000_000, "TIFF": 105_000_000}
MAX_CMYK_PIXELS = 75_000_000

# A progressive JPEG comes in scans, each of which goes over the whole picture, even one of a hundred bytes: a small
# file of thousands keeps a decoder busy for hours (libjpeg-turbo issue 284, which leaves the limit to its callers).
# Cameras and converters write about ten.
MAX_SCANS = 100

# A photo is halved as long as its longer side stays as long as this: then a face a fortieth of it wide, the smallest
# that the finder finds, still fills a crop of 112 pixels.
LEAST_LONGER_SIDE = 40 * 112

# Pixels that are converted at a time.
_STRIP = 1 << 20

# A whole face of 16 px shows nothing of its age, and the detector sees none below 20 px.
MIN_SIDE = 16


class _Decoded(NamedTuple):
    """HxWx3 uint8 RGB, upright; by which power of two it is reduced; and width and height before that."""

    pixels: np.ndarray
    halvings: int
    size: tuple[int, int]


def open_photo(source: PhotoSource) -> np.ndarray:
    """Give any photo as one plain array.

    Files: those of `FORMATS`. The EXIF turn is applied, transparency is laid on white, 16-bit grey is scaled to 8 bits,
    and of an animation the first frame is taken. The size is checked in the header, before any pixel is decoded, and
    again in what was decoded.

    Args:
        source: a path; a PIL image, made in memory or opened from one of these formats, taken as it stands (with its
            EXIF turn, if it still carries one); or an array, HxWx3 uint8 RGB or HxW uint8 grey, taken as upright.

    Returns:
        HxWx3 uint8 RGB, upright, C-contiguous.

    Raises:
        PhotoError: the file is missing, unreadable or of another format, the array is of another kind, a side is
            shorter than `MIN_SIDE`, or the picture has more than `MAX_PIXELS`, or than its format may have.
    """
    return _opened(source, _no_halvings).pixels


def open_photo_bytes(data: bytes, name: str) -> np.ndarray:
    """As `open_photo`, from a file's content; `name` stands for the file in the sentences of errors.

    Raises:
        PhotoError: as `open_photo`.
    """
    return _from_bytes(data, name, _no_halvings).pixels


def open_pyramid(source: PhotoSource | Pyramid) -> Pyramid:
    """As `open_photo`, ready for finding faces and cutting them out; coordinates are in pixels of the photo.

    A file or PIL image far larger than that takes (`LEAST_LONGER_SIDE`) is reduced on the way, a JPEG file while it is
    decoded, so that it takes less memory. An array is taken as it is, and a pyramid is given back.

    Raises:
        PhotoError: as `open_photo`.
        DetectorError: OpenCV cannot be loaded.
    """
    return source if isinstance(source, Pyramid) else Pyramid(*_opened(source, _halvings))


def open_pyramid_bytes(data: bytes, name: str) -> Pyramid:
    """As `open_pyramid`, from a file's content; `name` stands for the file in the sentences of errors."""
    return Pyramid(*_from_bytes(data, name, _halvings))


def count_pixels(data: bytes) -> int:
    """Number of pixels by a picture file's header; 0 where it cannot be read."""
    try:
        with _open(io.BytesIO(data)) as image:
            return image.width * image.height
    except Exception:  # format readers raise all kinds of errors on damaged headers
        return 0


Halvings = Callable[[int, int], int]
"""How many times a photo is halved, from its width and height."""


def _no_halvings(width: int, height: int) -> int:
    return 0


def _halvings(width: int, height: int) -> int:
    return max(0, (max(width, height) // LEAST_LONGER_SIDE).bit_length() - 1)


def _opened(source: PhotoSource, halvings: Halvings) -> _Decoded:
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        if source.format not in (None, *FORMATS):
            raise PhotoError(f"the picture is {source.format}, which is not {_KNOWN}")
        return _decode(source, "the picture", halvings, own=False)
    if isinstance(source, str | Path):
        return _from_path(Path(source), halvings)
    raise PhotoError(
        f"the picture is a {type(source).__name__}; give a path, a PIL image or an HxWx3 uint8 RGB array"
    )


def _from_bytes(data: bytes, name: str, halvings: Halvings) -> _Decoded:
    if not data:
        raise PhotoError(f"'{name}' is an empty file; give a photo file")
    return _from_file(io.BytesIO(data), f"'{name}'", halvings)


def _from_array(array: np.ndarray) -> _Decoded:
    grey, colour = array.ndim == 2, array.ndim == 3 and array.shape[2] == 3
    if array.dtype != np.uint8 or not (grey or colour):
        shape = "x".join(map(str, array.shape)) or "a single number"
        raise PhotoError(
            f"the picture is an array of {array.dtype}, {shape}; "
            "give one of uint8 from 0 to 255, HxWx3 (RGB) or HxW (grey)"
        )
    height, width = array.shape[:2]
    _check_size(width, height, "the picture")
    if grey:
        array = np.repeat(array[:, :, None], 3, axis=2)
    return _Decoded(np.ascontiguousarray(array), 0, (width, height))


def _from_path(path: Path, halvings: Halvings) -> _Decoded:
    name = f"'{path}'"
    try:
        if path.is_dir():
            raise PhotoError(f"{name} is a folder; give a photo file")
        if path.stat().st_size == 0:
            raise PhotoError(f"{name} is an empty file; give a photo file")
        return _from_file(path, name, halvings)
    except FileNotFoundError:
        raise PhotoError(f"{name} does not exist; check the path") from None
    except PermissionError:
        raise PhotoError(f"{name} may not be read; check the file's permissions") from None
    except (OSError, ValueError) as error:
        raise PhotoError(f"{name} cannot be opened ({error}); check the path and the file") from error


def _from_file(file: Path | io.BytesIO, name: str, halvings: Halvings) -> _Decoded:
    try:
        with _open(file) as image:
            return _decode(image, name, halvings, own=True)
    except (FileNotFoundError, PermissionError):
        raise  # `_from_path` knows the way out
    except UnidentifiedImageError:
        raise PhotoError(f"{name} is not a picture in {_KNOWN}") from None
    except Image.DecompressionBombError:
        raise PhotoError(f"{name} is too large; {_smaller(MAX_PIXELS)}") from None
    except PhotoError:
        raise
    except Exception as error:  # format readers raise all kinds of errors on damaged headers
        raise PhotoError(f"{name} cannot be opened ({error}); check the path and the file") from error


def _open(file: Path | io.BytesIO) -> Image.Image:
    with warnings.catch_warnings():
        # Pillow warns at 89 megapixels, and refuses at 179; the limit here is checked as soon as the size is known.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(file, formats=_readable_formats())


def _decode(image: Image.Image, name: str, halvings: Halvings, own: bool) -> _Decoded:
    """Decode an image; one that is our own may be changed on the way."""
    width, height = image.size
    _check_size(width, height, name, _most_pixels(image))
    count = halvings(width, height)
    try:
        if own and count:
            image.draft(None, (width >> count, height >> count))  # JPEG alone can
        expected = image.size
        _check_scans(image, name)
        # Formats decode lazily, so damage shows up only here; decoders raise all kinds of errors on it.
        image.load()
        if image.size != expected:  # a decoder may find another size than the header told
            width, height = image.size
            _check_size(width, height, name, _most_pixels(image))
            count = halvings(width, height)
        pixels, swapped = _upright(image, (width, height), count)
    except PhotoError:
        raise
    except Exception as error:
        raise PhotoError(
            f"{name} is damaged or cut off ({error}); export or download it again as JPEG or PNG"
        ) from error
    return _Decoded(pixels, count, (height, width) if swapped else (width, height))


# How the array of an upright picture is seen as the picture is stored, for each EXIF turn that changes anything.
_STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: np.rot90(upright, 2).swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


def _upright(image: Image.Image, size: tuple[int, int], halvings: int) -> tuple[np.ndarray, bool]:
    """Pixels of a decoded image, halved so often from `size`, and whether its turn swaps width and height.

    Strip by strip, so that only the image and the result are in memory as a whole.
    """
    turn = _turn(image)
    swapped = turn in (5, 6, 7, 8)
    width, height = (-(-side >> halvings) for side in size)
    upright = np.empty((width, height, 3) if swapped else (height, width, 3), np.uint8)
    stored = _STORED.get(turn, lambda same: same)(upright)
    factor = (1 << halvings) if image.size == size else 1  # a JPEG may be reduced already
    white = _white(image, factor) if _is_deep(image) else 255.0
    for top, strip in _strips(image, factor):
        rows = _to_rgb(strip, white)
        rows = rows.reduce(factor) if factor > 1 else rows
        stored[top // factor : top // factor + rows.height] = np.asarray(rows)
    return upright, swapped


def _turn(image: Image.Image) -> int:
    """The EXIF turn; 1, which is none, where the EXIF data are damaged: the picture need not be."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # Pillow lets through whatever its reader of TIFF headers raises
        return 1


def _strips(image: Image.Image, factor: int) -> Iterator[tuple[int, Image.Image]]:
    """The first row and the picture of each part of an image, from the top; heights are multiples of `factor`."""
    step = factor * max(1, _STRIP // (factor * image.width))
    for top in range(0, image.height, step):
        yield top, image.crop((0, top, image.width, min(top + step, image.height)))


def _to_rgb(image: Image.Image, white: float) -> Image.Image:
    if _is_deep(image):
        values = np.nan_to_num(np.asarray(image).astype(np.float32))
        image = Image.fromarray(np.round(np.clip(values / white, 0, 1) * 255).astype(np.uint8))
    if image.has_transparency_data:
        blank = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(blank, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _is_deep(image: Image.Image) -> bool:
    """Whether it is grey of 16 bits (modes I and I;16) or floats (F), which Pillow itself would clip at 255."""
    return image.mode == "F" or image.mode.startswith("I")


def _white(image: Image.Image, factor: int) -> float:
    """The value of white, by the highest value: of 16 bits, unless whole numbers fill 8 (a picture converted to mode I)
    or 12 (a scanner's TIFF), or floats are kept from 0 to 1 or from 0 to 255."""
    highest = max(float(np.nan_to_num(np.asarray(strip)).max()) for _, strip in _strips(image, factor))
    lower = (1.0, 255.0) if image.mode == "F" else (255.0, 4095.0)
    return next((white for white in lower if highest <= white), 65535.0)


_KNOWN = "a known format; give a JPEG, PNG, WebP, AVIF, HEIC, TIFF, BMP or GIF file"


def _smaller(most: int) -> str:
    return f"give a picture of at most {most // 1_000_000} megapixels"


def _most_pixels(image: Image.Image) -> int:
    most = MAX_PIXELS_OF.get(image.format or "", MAX_PIXELS)
    return min(most, MAX_CMYK_PIXELS) if image.mode == "CMYK" else most


def _check_size(width: int, height: int, name: str, most: int = MAX_PIXELS) -> None:
    if min(width, height) < MIN_SIDE:
        raise PhotoError(
            f"{name} is only {width}x{height} pixels; give a picture of at least {MIN_SIDE}x{MIN_SIDE} pixels"
        )
    if width * height > most:
        raise PhotoError(f"{name} is {width}x{height} pixels; {_smaller(most)}")


# What ends the compressed data of a scan: a marker that is no stuffed byte, no fill byte and no restart.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_END_OF_IMAGE, _START_OF_SCAN = 0xD9, 0xDA


def _check_scans(image: Image.Image, name: str) -> None:
    if image.format not in ("JPEG", "MPO") or (file := getattr(image, "fp", None)) is None:
        return  # of another format, or decoded already
    place = file.tell()
    file.seek(0)
    scans = count_scans(file.read())
    file.seek(place)
    if scans > MAX_SCANS:
        raise PhotoError(
            f"{name} is a JPEG in more than {MAX_SCANS} scans, which takes too long to decode; export it again"
        )


def count_scans(data: bytes) -> int:
    """Number of scans of a JPEG file's first picture, not counted beyond one more than `MAX_SCANS`.

    Segments are passed by their lengths, since thumbnails and notes in them hold any bytes, and nothing is read after
    the picture's end, where phones put a film (ITU-T T.81, B.1).
    """
    scans, place = 0, 2  # after the start of the image
    while (marker := _NEXT_MARKER.search(data, place)) and scans <= MAX_SCANS:
        kind, place = data[marker.start() + 1], marker.end()
        if kind == _END_OF_IMAGE:
            break
        scans += kind == _START_OF_SCAN
        place += int.from_bytes(data[place : place + 2], "big")
    return scans


@cache
def _readable_formats() -> list[str]:
    """Those of `FORMATS` that have a reader; found on the first photo, so that importing this module stays quick."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        pass  # HEIC then ends in the sentence on unknown formats
    else:
        register_heif_opener()
    Image.init()  # Pillow before 11.3 reads no AVIF, and `Image.open` knows no way out of a name without a reader
    return [name for name in FORMATS if name in Image.OPEN]
