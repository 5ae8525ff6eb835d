"""Opening a photo safely: formats, EXIF turn, size limits, and 8-bit RGB at the end."""

import io
import warnings
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cilf.errors import PhotoError

PhotoSource = str | Path | Image.Image | np.ndarray

# What cameras, phones and the web write. Pillow knows more formats, which nobody needs here: EPS it would hand to
# Ghostscript, a program that runs as long as the file tells it to.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "HEIF", "TIFF", "BMP", "GIF")

# 120 megapixels are 360 MB as RGB: above every phone and camera in common use (108 MP), far below what a decompression
# bomb unpacks to (20,000 x 20,000 = 400 MP).
MAX_PIXELS = 120_000_000

# A whole face of 16 px shows nothing of its age, and the detector sees none below 20 px.
MIN_SIDE = 16


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
            shorter than `MIN_SIDE`, or the picture has more than `MAX_PIXELS`.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        if source.format not in (None, *FORMATS):
            raise PhotoError(f"the picture is {source.format}, which is not {_KNOWN}")
        return _decode(source, "the picture")
    if isinstance(source, str | Path):
        return _from_path(Path(source))
    raise PhotoError(
        f"the picture is a {type(source).__name__}; give a path, a PIL image or an HxWx3 uint8 RGB array"
    )


def open_photo_bytes(data: bytes, name: str) -> np.ndarray:
    """As `open_photo`, from a file's content; `name` stands for the file in the sentences of errors.

    Raises:
        PhotoError: as `open_photo`.
    """
    if not data:
        raise PhotoError(f"'{name}' is an empty file; give a photo file")
    return _from_file(io.BytesIO(data), f"'{name}'")


def _from_array(array: np.ndarray) -> np.ndarray:
    grey, colour = array.ndim == 2, array.ndim == 3 and array.shape[2] == 3
    if array.dtype != np.uint8 or not (grey or colour):
        shape = "x".join(map(str, array.shape)) or "a single number"
        raise PhotoError(
            f"the picture is an array of {array.dtype}, {shape}; "
            "give one of uint8 from 0 to 255, HxWx3 (RGB) or HxW (grey)"
        )
    _check_size(array.shape[1], array.shape[0], "the picture")
    if grey:
        array = np.repeat(array[:, :, None], 3, axis=2)
    return np.ascontiguousarray(array)


def _from_path(path: Path) -> np.ndarray:
    name = f"'{path}'"
    try:
        if path.is_dir():
            raise PhotoError(f"{name} is a folder; give a photo file")
        if path.stat().st_size == 0:
            raise PhotoError(f"{name} is an empty file; give a photo file")
        return _from_file(path, name)
    except FileNotFoundError:
        raise PhotoError(f"{name} does not exist; check the path") from None
    except PermissionError:
        raise PhotoError(f"{name} may not be read; check the file's permissions") from None
    except (OSError, ValueError) as error:
        raise PhotoError(f"{name} cannot be opened ({error}); check the path and the file") from error


def _from_file(file: Path | io.BytesIO, name: str) -> np.ndarray:
    try:
        with _open(file) as image:
            return _decode(image, name)
    except (FileNotFoundError, PermissionError):
        raise  # `_from_path` knows the way out
    except UnidentifiedImageError:
        raise PhotoError(f"{name} is not a picture in {_KNOWN}") from None
    except Image.DecompressionBombError:
        raise PhotoError(f"{name} is too large; {_SMALLER}") from None
    except PhotoError:
        raise
    except Exception as error:  # format readers raise all kinds of errors on damaged headers
        raise PhotoError(f"{name} cannot be opened ({error}); check the path and the file") from error


def _open(file: Path | io.BytesIO) -> Image.Image:
    with warnings.catch_warnings():
        # Pillow warns at 89 megapixels, and refuses at 179; the limit here is checked as soon as the size is known.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(file, formats=_readable_formats())


def _decode(image: Image.Image, name: str) -> np.ndarray:
    _check_size(*image.size, name)
    try:
        # Formats decode lazily, so damage shows up only here; decoders raise all kinds of errors on it.
        image.load()
        _check_size(*image.size, name)  # a decoder may find another size than the header told
        return np.array(_to_rgb(ImageOps.exif_transpose(image)))
    except PhotoError:
        raise
    except Exception as error:
        raise PhotoError(
            f"{name} is damaged or cut off ({error}); export or download it again as JPEG or PNG"
        ) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        image = _to_8_bits(image)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Scale grey of 16 bits (modes I and I;16) or floats (F) to 8 bits; Pillow's own conversion would clip at 255."""
    values = np.nan_to_num(np.asarray(image).astype(np.float32))
    highest, top = float(values.max()), 65535.0
    if image.mode == "F" and highest <= 255:  # floats are kept from 0 to 1 or from 0 to 255
        top = 1.0 if highest <= 1 else 255.0
    return Image.fromarray(np.round(np.clip(values / top, 0, 1) * 255).astype(np.uint8))


_KNOWN = "a known format; give a JPEG, PNG, WebP, AVIF, HEIC, TIFF, BMP or GIF file"
_SMALLER = f"give a picture of at most {MAX_PIXELS // 1_000_000} megapixels"


def _check_size(width: int, height: int, name: str) -> None:
    if min(width, height) < MIN_SIDE:
        raise PhotoError(
            f"{name} is only {width}x{height} pixels; give a picture of at least {MIN_SIDE}x{MIN_SIDE} pixels"
        )
    if width * height > MAX_PIXELS:
        raise PhotoError(f"{name} is {width}x{height} pixels; {_SMALLER}")


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
