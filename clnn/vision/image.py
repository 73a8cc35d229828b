"""Pictures in, as arrays: files, encoded bytes, Pillow images, NumPy arrays."""

from __future__ import annotations

import io
import os
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from clnn.errors import InputError

MAX_PIXELS = 89_478_485
"""Largest picture that is decoded, in pixels: a quarter of a gigabyte as RGB, where Pillow too begins to warn."""

ImageSource = str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | np.ndarray
"""What `load` takes for a picture."""


def name_of(source: ImageSource) -> str:
    """What a picture is called in results and messages."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    if isinstance(source, Image.Image):
        return str(getattr(source, "filename", "")) or "image"
    return "array" if isinstance(source, np.ndarray) else "bytes"


def load(source: ImageSource, name: str | None = None) -> np.ndarray:
    """Decode a picture.

    Args:
        source: a path, the bytes of an encoded picture, a Pillow image, or an array [height, width, 3], uint8, RGB.
        name: what messages call it; ``None``: ``name_of(source)``.

    Returns:
        [height, width, 3] uint8, RGB, turned as its EXIF orientation says; an array is returned as it is. Of an
        animation, the first frame. Transparency is dropped; 16-bit grey and fractions are scaled to 8 bits.

    Raises:
        InputError: it is missing, a folder, not a picture, truncated, empty, or has more than ``MAX_PIXELS``.
    """
    name = name or name_of(source)
    if isinstance(source, np.ndarray):
        return _check_array(source, name)
    if isinstance(source, Image.Image):
        return _to_rgb(source, name)
    with _open(source, name) as stream:
        return _decode(stream, name)


def _open(source: ImageSource, name: str) -> BinaryIO:
    """A file, or bytes as a file."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(source)
    if not isinstance(source, (str, os.PathLike)):
        kind = type(source).__name__
        raise InputError(f"{name}: {kind} is no picture; give a path, bytes, a Pillow image or an array")
    try:
        return open(source, "rb")
    except FileNotFoundError as error:
        raise InputError(f"{name}: no such file; check the path") from error
    except OSError as error:
        # Windows says "permission denied" where others say "is a directory".
        why = "is a folder, not a picture" if os.path.isdir(source) else error.strerror or str(error)
        raise InputError(f"{name}: {why}; give a picture that can be read") from error
    except ValueError as error:
        raise InputError(f"{name!r}: not a path ({error}); give the path of a picture") from error


def _decode(stream: BinaryIO, name: str) -> np.ndarray:
    try:
        picture = Image.open(stream)
    except Image.DecompressionBombError as error:
        raise _too_large(name) from error
    except Image.UnidentifiedImageError as error:
        what = "not a picture that Pillow reads" if stream.seek(0, io.SEEK_END) else "empty"
        raise InputError(f"{name}: {what}; give a JPEG, PNG, WebP, BMP, TIFF, ...") from error
    except Exception as error:  # whatever else one of Pillow's many parsers trips over in a damaged header
        raise InputError(f"{name}: damaged picture ({error}); save it anew") from error
    return _to_rgb(picture, name)


def _check_array(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise InputError(f"{name}: {array.dtype} {array.shape} is not a picture; give uint8 (height, width, 3) in RGB")
    return array


def _to_rgb(picture: Image.Image, name: str) -> np.ndarray:
    # The header tells the size: nothing is decoded, nor allocated, for a picture that is too large.
    if picture.width * picture.height > MAX_PIXELS:
        raise _too_large(name, f"{picture.width}×{picture.height}: ")
    if 0 in picture.size:
        raise InputError(f"{name}: {picture.width}×{picture.height} has no pixels; give a picture")
    try:
        turned = ImageOps.exif_transpose(picture)
        if turned.mode[0] in "IF":
            turned = _to_8_bits(turned)
        return np.asarray(turned.convert("RGB"))
    except Exception as error:  # a decoder raises what its parser trips over: OSError, SyntaxError, struct.error, ...
        raise InputError(f"{name}: damaged or truncated picture ({error}); save it anew") from error


def _to_8_bits(picture: Image.Image) -> Image.Image:
    """Scale 16-bit grey (modes I;16 and I) and fractions (F) to 8 bits; Pillow's own conversion would clip them."""
    values = np.nan_to_num(np.asarray(picture).astype(np.float64))
    top = values.max()
    scale = 255 if picture.mode == "F" and top <= 1 else 1 / 256 if top > 255 else 1
    return Image.fromarray(np.clip(values * scale, 0, 255).astype(np.uint8))


def _too_large(name: str, size: str = "") -> InputError:
    return InputError(f"{name}: {size}more than {MAX_PIXELS:,} pixels, which may be an attack; scale it down first")
