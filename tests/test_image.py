"""load_image: every kind of picture that users have, and every kind of damage."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ferkit import ImageError, ImageNotFoundError, InputError, load_image
from ferkit._image import to_grey

RED = np.full((8, 12, 3), (200, 30, 40), np.uint8)


def encoded(picture: Image.Image, format_: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format_, **options)
    return buffer.getvalue()


def test_path_bytes_pil_and_array_agree(tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    Image.fromarray(RED).save(path)
    for image in (path, str(path), path.read_bytes(), bytearray(path.read_bytes()), Image.open(path), RED):
        loaded = load_image(image)
        assert loaded.dtype == np.uint8
        assert loaded.flags.c_contiguous
        assert np.array_equal(loaded, RED)


def test_the_argument_is_copied() -> None:
    source = RED.copy()
    load_image(source)[:] = 0
    assert np.array_equal(source, RED)


def test_bgr_array() -> None:
    assert np.array_equal(load_image(RED[:, :, ::-1], color="bgr"), RED)
    with pytest.raises(InputError, match="rgb"):
        load_image(RED, color="rbg")  # type: ignore[arg-type]


def test_grey_arrays() -> None:
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
    for array in (grey, grey[:, :, None]):
        assert np.array_equal(load_image(array), np.repeat(grey[:, :, None], 3, axis=2))
    assert np.array_equal(to_grey(load_image(grey)), grey)


def test_uint16_and_bool_arrays() -> None:
    assert load_image(np.full((2, 2), 65535, np.uint16)).max() == 255
    assert load_image(np.full((2, 2), 257 * 100, np.uint16)).max() == 100
    assert load_image(np.ones((2, 2), bool)).min() == 255


def test_alpha_goes_over_white() -> None:
    rgba = np.zeros((4, 4, 4), np.uint8)
    assert load_image(rgba).min() == 255
    rgba[..., 3] = 255
    assert load_image(rgba).max() == 0
    assert load_image(encoded(Image.fromarray(np.zeros((4, 4, 4), np.uint8)))).min() == 255


@pytest.mark.parametrize("array", [np.zeros((4, 4), np.float32), np.zeros((4, 4, 3)), np.zeros((4, 4), np.int64), np.zeros((2, 2), object)])
def test_other_dtypes_say_what_to_type(array: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"expected uint8.*astype"):
        load_image(array)


@pytest.mark.parametrize("shape", [(4,), (0, 4), (4, 0, 3), (4, 4, 2), (4, 4, 5), (1, 4, 4, 3)])
def test_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"expected \(H, W\)"):
        load_image(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("value", [None, 3, 3.5, object(), ["a"]])
def test_other_types(value: object) -> None:
    with pytest.raises(InputError, match="expected a path, bytes, a PIL image or a numpy array"):
        load_image(value)


def test_sixteen_bit_png_keeps_its_greys(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    loaded = load_image(tmp_path / "deep.png")[..., 0].ravel()
    assert np.abs(loaded.astype(int) - np.arange(256)).max() <= 1


def test_cmyk_jpeg() -> None:
    loaded = load_image(encoded(Image.fromarray(RED).convert("CMYK"), "JPEG", quality=95))
    assert np.abs(loaded.astype(int) - RED).max() < 30


def test_palette_png_with_alpha() -> None:
    picture = Image.new("P", (4, 4), 0)
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putpixel((0, 0), 1)
    loaded = load_image(encoded(picture, transparency=0))
    assert tuple(loaded[0, 0]) == (200, 100, 50)
    assert tuple(loaded[1, 1]) == (255, 255, 255)


def test_grey_with_alpha_and_one_bit() -> None:
    assert load_image(encoded(Image.new("LA", (3, 3), (9, 255)))).max() == 9
    assert load_image(encoded(Image.new("1", (3, 3), 1))).min() == 255


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(orientation: int) -> None:
    upright = np.zeros((20, 30, 3), np.uint8)
    upright[:10, :15] = (250, 0, 0)  # a red quarter, top left
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that stores it so
    picture = Image.fromarray(upright)
    if orientation > 1:
        picture = picture.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    loaded = load_image(encoded(picture, "JPEG", exif=exif, quality=100, subsampling=0))
    assert loaded.shape == upright.shape
    assert loaded[2, 2, 0] > 200
    assert loaded[17, 27].max() < 50


def test_animated_gif_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (5, 5), c) for c in ((255, 0, 0), (0, 255, 0))]
    loaded = load_image(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert loaded.shape == (5, 5, 3)
    assert loaded[0, 0, 0] > 200


def test_one_pixel() -> None:
    assert load_image(encoded(Image.new("RGB", (1, 1), (1, 2, 3)))).tolist() == [[[1, 2, 3]]]


def test_non_ascii_path(tmp_path: Path) -> None:
    path = tmp_path / "gesicht-ä-顔-😀.png"
    Image.fromarray(RED).save(path)
    assert np.array_equal(load_image(path), RED)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ImageNotFoundError, match="does not exist"):
        load_image(tmp_path / "no.jpg")
    with pytest.raises(FileNotFoundError):
        load_image(str(tmp_path / "no.jpg"))


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a folder"):
        load_image(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty"), (b"just words", "not an image"), (b"\xff\xd8\xff\xe0" + b"\0" * 40, "not an image|damaged")],
)
def test_not_images(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    for image in (path, content):
        with pytest.raises(ImageError, match=message):
            load_image(image)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_truncation_is_an_image_error(format_: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    whole = encoded(Image.fromarray(noise), format_)
    for share in (0.02, 0.3, 0.6, 0.9):
        try:
            load_image(whole[: int(len(whole) * share)])
        except ImageError as error:
            assert "given bytes" in str(error)
        else:
            pytest.fail(f"{format_} cut to {share:.0%} was accepted")


def test_bomb_is_refused_before_it_is_decoded() -> None:
    side = 20_000

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    with pytest.raises(ImageError, match=r"more than 100,000,000|exceeds limit"):
        load_image(bomb)


def test_max_pixels() -> None:
    with pytest.raises(ImageError, match="12x8"):
        load_image(encoded(Image.fromarray(RED)), max_pixels=50)
    with pytest.raises(ImageError, match="12x8"):
        load_image(RED, max_pixels=50)
