"""Reading pictures: what is accepted, and what each kind of bad picture says."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clnn.errors import InputError
from clnn.vision import image

PIXELS = np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is and holds one empty chunk of pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_all_kinds_of_sources_give_the_same_pixels(tmp_path: Path):
    data = encoded(Image.fromarray(PIXELS))
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    for source in (path, str(path), data, bytearray(data), memoryview(data), Image.fromarray(PIXELS), PIXELS):
        np.testing.assert_array_equal(image.load(source), PIXELS)


def test_names(tmp_path: Path):
    assert image.name_of(Path("a") / "b.jpg") == str(Path("a") / "b.jpg")
    assert image.name_of(b"") == "bytes"
    assert image.name_of(PIXELS) == "array"
    assert image.name_of(Image.fromarray(PIXELS)) == "image"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = {
        1: PIXELS,
        2: PIXELS[:, ::-1],
        3: PIXELS[::-1, ::-1],
        4: PIXELS[::-1],
        5: PIXELS.transpose(1, 0, 2),
        6: np.rot90(PIXELS, -1),
        7: PIXELS[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(PIXELS),
    }
    np.testing.assert_array_equal(image.load(encoded(Image.fromarray(PIXELS), exif=exif)), upright[orientation])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F"])
def test_every_mode_becomes_rgb(mode: str):
    through = {"HSV": "RGB", "PA": "P"}.get(mode, mode)
    loaded = image.load(Image.new("L", (5, 7), 200).convert(through).convert(mode))
    assert loaded.shape == (7, 5, 3)
    assert loaded.dtype == np.uint8
    if mode == "1":
        assert set(loaded.ravel().tolist()) <= {0, 255}
    else:
        assert np.abs(loaded.astype(int) - 200).max() <= 1


def test_fractions_are_scaled(tmp_path):
    values = np.array([[0, 0.5, 1], [np.nan, 0.25, -1]], np.float32)
    Image.fromarray(values).save(tmp_path / "fractions.tif")
    assert image.load(tmp_path / "fractions.tif")[..., 0].tolist() == [[0, 127, 255], [0, 63, 0]]


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_16_bit_grey_is_scaled(dtype: type):
    values = np.linspace(0, 65535, 35).reshape(7, 5).astype(dtype)
    loaded = image.load(Image.fromarray(values))
    np.testing.assert_array_equal(loaded[:, :, 1], values >> 8)


def test_first_frame_of_an_animation():
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "blue")]
    loaded = image.load(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert loaded[0, 0].tolist() == [255, 0, 0]


def test_one_pixel():
    assert image.load(encoded(Image.new("RGB", (1, 1), "white"))).tolist() == [[[255, 255, 255]]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"this is a text file called photo.jpg\n", "not a picture"),
        (b"\xff\xd8\xff", "not a picture"),
        (encoded(Image.fromarray(PIXELS))[:-30], "damaged or truncated"),
        (encoded(Image.new("RGB", (64, 64)), "JPEG")[:-200], "damaged"),
        (png_header(30_000, 30_000), "more than 89,478,485 pixels"),
        (png_header(2**31 - 1, 2**31 - 1), "more than 89,478,485 pixels"),
        (png_header(0, 9), "0×9|damaged|not a picture"),
    ],
)
def test_bad_files(tmp_path: Path, data: bytes, message: str):
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as raised:
        image.load(path)
    assert str(raised.value).startswith(str(path))
    assert ";" in str(raised.value), "a remedy"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_the_limit_holds_below_pillows_own(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match="9600×9600"):
        image.load(png_header(9600, 9600))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(InputError, match="30000×30000"):
        image.load(png_header(30_000, 30_000))


def test_what_is_no_file(tmp_path: Path):
    with pytest.raises(InputError, match="is a folder"):
        image.load(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        image.load(tmp_path / "missing.jpg")
    with pytest.raises(InputError, match="not a path"):
        image.load("a\0b")
    with pytest.raises(InputError, match="NoneType"):
        image.load(None)


@pytest.mark.parametrize(
    "array",
    [PIXELS.astype(np.float32), PIXELS[:, :, 0], PIXELS[None], PIXELS[:, :, :2], PIXELS[:0]],
    ids=["float", "grey", "batch", "two channels", "empty"],
)
def test_bad_arrays(array: np.ndarray):
    with pytest.raises(InputError, match="give uint8"):
        image.load(array)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_random_damage_is_always_an_input_error():
    """Whatever a damaged file makes Pillow's parsers raise, the caller sees one kind of error."""
    random = np.random.default_rng(1)
    picture = Image.fromarray(random.integers(0, 256, (40, 40, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        data = encoded(picture, kind, **({} if kind in ("GIF", "BMP") else {"exif": exif}))
        for _ in range(60):
            damaged = bytearray(data)
            for position in random.integers(0, len(data), 6):
                damaged[position] = random.integers(0, 256)
            with contextlib.suppress(InputError):
                assert image.load(bytes(damaged)).shape[2] == 3
