"""Whatever a file contains is an image or an ImageError."""

from __future__ import annotations

import importlib.util
import io
import os
import struct
import threading
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from ferkit import ImageError, ImageNotFoundError, InputError, load_image
from ferkit.bulk.opening import kind_of_error
from ferkit.images import load, pixels_of, to_grey
from tests.helpers.tensors import Arrayish, Interface, Tensor, TorchTensor

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


def test_formats_that_other_programs_draw_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """EPS is a program that Ghostscript runs where it is installed; of WMF and HDF5 Pillow knows the name."""
    from PIL import EpsImagePlugin

    run: list[object] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given, **named: run.append(given) or Image.new("RGB", (8, 8)).im)
    eps = encoded(Image.new("RGB", (8, 8)), "EPS")
    wmf = b"\xd7\xcd\xc6\x9a\0\0" + struct.pack("<hhhhHIH", 0, 0, 100, 100, 96, 0, 0) + b"\x01\0\t\0" + b"\0" * 40
    for data in (eps, wmf, b"\x89HDF\r\n\x1a\n" + b"\0" * 100):
        for read in (load_image, pixels_of):
            with pytest.raises(ImageError, match="not an image that Pillow can read"):
                read(data)
        assert kind_of_error(ImageError("unreadable"), data) == "not_image"
    assert not run


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
    for limit in (100_000_000, 10**9):  # Pillow's own is below the picture, whatever ours is
        with pytest.raises(ImageError, match=r"exceeds limit.*raise PIL\.Image\.MAX_IMAGE_PIXELS and max_pixels"):
            load_image(bomb, max_pixels=limit)


def test_max_pixels() -> None:
    with pytest.raises(ImageError, match="12x8"):
        load_image(encoded(Image.fromarray(RED)), max_pixels=50)
    with pytest.raises(ImageError, match="12x8"):
        load_image(RED, max_pixels=50)


def photo_with_exif(*entries: tuple[int, int, int, bytes], order: str = "<") -> bytes:
    """A red JPEG of 64x32 whose EXIF says "turn me" (orientation 6) beside other entries: tag, type, count, value."""
    rows = sorted([(0x112, 3, 1, struct.pack(f"{order}H", 6)), *entries])
    at, data = 8 + 2 + 12 * len(rows) + 4, b""
    directory = struct.pack(f"{order}H", len(rows))
    for tag, kind, count, value in rows:
        if len(value) > 4:
            directory += struct.pack(f"{order}HHII", tag, kind, count, at + len(data))
            data += value
        else:
            directory += struct.pack(f"{order}HHI", tag, kind, count) + value.ljust(4, b"\0")
    head = b"II*\0\x08\0\0\0" if order == "<" else b"MM\0*\0\0\0\x08"
    exif = b"Exif\0\0" + head + directory + b"\0\0\0\0" + data
    jpeg = encoded(Image.new("RGB", (64, 32), (200, 0, 0)), "JPEG")
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


VALUES = {
    1: b"\x01",
    2: b"72.\0",
    3: b"\0\1",
    4: b"\xff" * 4,
    5: b"\0" * 8,
    6: b"\xfb",
    7: b"odd\0",
    9: b"\xfb" * 4,
    10: b"\xfb" * 8,
    12: b"\x7f" * 8,
}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("tag", [0x100, 0x106, 0x10F, 0x11A, 0x11B, 0x128, 0x132, 0x8298, 0x8769, 0x8825, 0x9286, 0xA005, 0xFFFF])
def test_orientation_needs_one_tag_only(tag: int, kind: int, order: str) -> None:
    value = VALUES[kind]
    assert load_image(photo_with_exif((tag, kind, len(value) if kind in (2, 7) else 1, value), order=order)).shape == (64, 32, 3)


@pytest.mark.parametrize("how", ["thumbnail", "long list", "offset beyond the end", "twice"])
def test_orientation_of_an_exif_that_is_damaged_elsewhere(how: str) -> None:
    entries = {
        "thumbnail": [(0x201, 4, 1, b"\xff\xff\xff\x7f"), (0x202, 4, 1, b"\xff\xff\xff\x7f")],
        "long list": [(0x9000 + i, 7, 8, b"12345678") for i in range(300)],
        "offset beyond the end": [(0x8769, 4, 1, b"\xff\xff\xff\x7f"), (0x8825, 4, 1, b"\0\xff\xff\x7f")],
        "twice": [(0x112, 3, 1, b"\x06\0")],
    }[how]
    assert load_image(photo_with_exif(*entries)).shape == (64, 32, 3)


@pytest.mark.parametrize(("kind", "value"), [(1, b"\x06"), (4, b"\x06\0\0\0"), (5, struct.pack("<II", 6, 1)), (3, b"\x06\0")])
def test_orientation_of_another_type(kind: int, value: bytes) -> None:
    data = photo_with_exif()
    entry = struct.pack("<HHI", 0x112, 3, 1) + b"\x06\0\0\0"
    assert entry in data
    if len(value) > 4:  # far away, in the place of the next directory's offset and after it
        data = photo_with_exif((0xFFFE, kind, 1, value))
        at = data.index(struct.pack("<HHI", 0xFFFE, kind, 1)) + 8
        data = data.replace(entry, struct.pack("<HHI", 0x112, kind, 1) + data[at : at + 4])
    else:
        data = data.replace(entry, struct.pack("<HHI", 0x112, kind, 1) + value.ljust(4, b"\0"))
    assert load_image(data).shape == (64, 32, 3)


def test_a_pil_image_with_an_odd_exif_is_read_too() -> None:
    picture = Image.open(io.BytesIO(photo_with_exif((0x10F, 5, 1, struct.pack("<II", 1, 1)))))
    assert load_image(picture).shape == (64, 32, 3)
    closed = Image.open(io.BytesIO(encoded(Image.fromarray(RED))))
    closed.close()
    with pytest.raises(ImageError, match="PIL image"):
        load_image(closed)


class Broken(Image.Image):
    """A picture whose decoder raises what it is told to."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._size, self._mode, self.error = (8, 8), "RGB", error

    def load(self) -> None:
        raise self.error


KINDS = [
    struct.error,
    AttributeError,
    RuntimeError,
    NotImplementedError,
    KeyError,
    AssertionError,
    RecursionError,
    MemoryError,
    UserWarning,
]


@pytest.mark.parametrize("kind", [*KINDS, ZeroDivisionError, UnicodeError, ArithmeticError, StopIteration, zlib.error])
def test_whatever_a_decoder_raises_is_an_image_error(kind: type[Exception]) -> None:
    with pytest.raises(ImageError) as caught:
        load_image(Broken(kind("inside")))
    assert isinstance(caught.value.__cause__, kind)


def test_stopping_is_no_image_error() -> None:
    with pytest.raises(KeyboardInterrupt):
        load_image(Broken(KeyboardInterrupt()))


@pytest.mark.parametrize("cut", [0, 100, 374])
def test_damaged_avif(cut: int) -> None:
    if "AVIF" not in Image.registered_extensions().values():
        pytest.skip("this Pillow has no AVIF")
    picture = Image.effect_mandelbrot((96, 96), (-3, -2.5, 2, 2.5), 100).convert("RGB")
    data = bytearray(encoded(picture, "AVIF"))
    data[-80:-10] = bytes(70)
    with pytest.raises(ImageError):
        load_image(bytes(data[: len(data) - cut]))


def fuzzer() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "fuzz_images.py"
    spec = importlib.util.spec_from_file_location("fuzz_images", path)
    assert spec is not None
    assert spec.loader is not None
    fuzz = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fuzz)
    return fuzz


def test_two_thousand_damaged_files() -> None:
    """Every format that Pillow opens; benchmarks/results/fuzz_images.json has the long run."""
    fuzz = fuzzer()
    assert len(fuzz.seeds()) >= 40
    found = Counter(fuzz.outcome(data) for _, _, data in fuzz.cases(2000, seed=19))
    assert set(found) == {"image", "ImageError"}, found
    assert min(found.values()) > 200


def test_file_objects(tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    Image.fromarray(RED).save(path)
    with path.open("rb") as file:
        for given in (file, io.BytesIO(path.read_bytes()), zipped(tmp_path, path)):
            assert np.array_equal(load_image(given), RED)
    written = io.BytesIO()
    Image.fromarray(RED).save(written, "PNG")  # which leaves it at its end
    assert np.array_equal(load_image(written), RED)


def zipped(folder: Path, path: Path) -> object:
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.write(path, "red.png")
    return zipfile.ZipFile(folder / "a.zip").open("red.png")


def test_file_objects_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    with (tmp_path / "a.txt").open() as file, pytest.raises(InputError, match="expected bytes"):
        load_image(file)
    with pytest.raises(InputError, match="closed"):
        load_image(file)
    with pytest.raises(ImageError, match="empty"):
        load_image(io.BytesIO())


def test_tensors() -> None:
    assert np.array_equal(load_image(Tensor(RED)), RED)
    assert np.array_equal(load_image(TorchTensor(RED)), RED)
    assert np.array_equal(load_image(TorchTensor(RED.transpose(2, 0, 1))), RED)  # as torchvision reads files
    assert load_image(Tensor(RED[..., 0])).shape == RED.shape
    with pytest.raises(InputError, match=r"expected \(H, W\)"):
        load_image(Tensor(RED.transpose(2, 0, 1)))
    with pytest.raises(InputError, match="uint8"):
        load_image(TorchTensor(RED / np.float32(255)))


def test_a_tensor_that_is_elsewhere() -> None:
    class OnTheGpu(Tensor):
        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
            raise TypeError("can't convert cuda:0 device type tensor to numpy")

    with pytest.raises(InputError, match=r"cuda.*\.cpu\(\)"):
        load_image(OnTheGpu(RED))


def test_arrays_of_other_makers() -> None:
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
    for given in (Arrayish(grey), Interface(grey), np.ma.masked_array(grey), grey[:, :, None].view(np.recarray)):
        np.testing.assert_array_equal(load_image(given), load_image(grey))


@pytest.mark.parametrize("mode", ["La", "RGBa", "LA", "PA", "CMYK", "YCbCr", "LAB", "HSV", "RGBX", "1", "I;16", "I;16B", "I"])
def test_every_mode_of_pillows(mode: str) -> None:
    assert load_image(Image.new(mode, (8, 6))).shape == (6, 8, 3)


@pytest.mark.parametrize("address", ["http://a.org/b.jpg", "https://a.org/b.jpg?x=1", "ftp://a/b.png", "s3://b/c.jpg", "file:///b.jpg"])
def test_addresses_are_not_fetched(address: str) -> None:
    with pytest.raises(ImageError, match="not fetched") as caught:
        load_image(address)
    assert address in str(caught.value)


@pytest.mark.parametrize(
    "name", ["x" * 300 + ".jpg", "data:image/jpeg;base64," + "A" * 5000, "/9j/" + "A" * 5000, "a\0b.jpg", "red.png/a.jpg"]
)
def test_names_that_no_file_can_have(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(RED).save("red.png")
    with pytest.raises(ImageError) as caught:
        load_image(name)
    assert len(str(caught.value)) < 400


def test_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    Image.fromarray(RED).save(tmp_path / "a.png")
    assert np.array_equal(load_image("~/a.png"), RED)
    assert np.array_equal(load_image(Path("~/a.png")), RED)
    with pytest.raises(ImageNotFoundError, match=r"b\.png"):
        load_image("~/b.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe.png").write_bytes(encoded(Image.fromarray(RED))))
    writer.start()
    assert np.array_equal(load_image(tmp_path / "pipe.png"), RED)
    writer.join()


def test_the_service_reads_and_refuses_them_alike() -> None:
    pytest.importorskip("starlette", reason="needs ferkit[serve]")
    from ferkit.serve.admission import PixelBudget
    from ferkit.serve.problems import Problem
    from ferkit.serve.settings import Settings
    from ferkit.serve.uploads import decode

    budget = PixelBudget(1_000_000)
    for tag, kind, value in ((0x11A, 10, b"\xfb" * 8), (0x106, 2, b"100\0"), (0x10F, 5, b"\1\0\0\0\1\0\0\0"), (0x11A, 2, b"72.\0")):
        data = photo_with_exif((tag, kind, len(value) if kind == 2 else 1, value))
        assert decode(data, Settings(max_pixels=10_000), budget).pixels.shape == (64, 32, 3)
    fuzz = fuzzer()
    found: Counter[str] = Counter()
    for name, _, data in fuzz.cases(2000, seed=20):
        if name.split()[0] in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "MPO", "AVIF", "TIFF"):
            try:
                found[str(decode(data, Settings(max_pixels=fuzz.MAX_PIXELS), budget).pixels.dtype)] += 1
            except Problem as problem:
                found[str(problem.status // 100)] += 1
    assert set(found) == {"uint8", "4"}


# -------------------------------------------------------------------------------------------------- at a smaller scale


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1", "CMYK", "LA", "I;16"])
def test_a_picture_read_smaller_looks_like_itself_shrunk(kind: str, mode: str, astronaut: np.ndarray) -> None:
    picture = Image.fromarray(astronaut).resize((600, 400), Image.Resampling.BICUBIC)
    deep = np.asarray(picture.convert("L"), np.uint16) * 257
    picture = Image.fromarray(deep) if mode == "I;16" else picture.convert(mode)
    buffer = io.BytesIO()
    try:
        picture.save(buffer, kind)
    except (OSError, ValueError, KeyError):
        pytest.skip(f"{kind} holds no {mode}")
    whole, small = load_image(buffer.getvalue()), load_image(buffer.getvalue(), max_side=150)
    assert small.shape == (100, 150, 3)
    expected = np.asarray(Image.fromarray(whole).resize((150, 100), Image.Resampling.BOX), np.float64)
    assert np.abs(small - expected).mean() < 6


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF", "PNG"])
def test_a_turned_picture_read_smaller_is_upright_and_knows_its_size(kind: str, orientation: int, astronaut: np.ndarray) -> None:
    picture = Image.fromarray(astronaut[:300])
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    picture.save(buffer, kind, exif=exif)
    whole, small = load_image(buffer.getvalue()), load(buffer.getvalue(), max_side=128)
    assert (small.height, small.width) == whole.shape[:2]
    assert max(small.pixels.shape) == 128
    expected = Image.fromarray(whole).resize(small.pixels.shape[1::-1], Image.Resampling.BOX)
    assert np.abs(small.pixels - np.asarray(expected, np.float64)).mean() < 6


def test_arrays_and_given_pictures_are_read_smaller_and_left_as_they_are(astronaut: np.ndarray) -> None:
    buffer = io.BytesIO()
    Image.fromarray(astronaut).save(buffer, "JPEG")
    given = Image.open(buffer)
    for image in (astronaut, astronaut[:, :, 0], given):
        assert load_image(image, max_side=100).shape == (100, 100, 3)
    assert given.size == (512, 512)
    assert load_image(astronaut, max_side=4000).shape == (512, 512, 3)
    with pytest.raises(InputError):
        load_image(astronaut, max_side=0)
