"""Mutated files of every format that Pillow opens: whatever a file contains, load_image gives an image or an ImageError.

python benchmarks/fuzz_images.py --count 20000 --seed 0

Counts per format what came of them, and lists whatever else escaped, with the seed and number that make the file again.
"""

from __future__ import annotations

import argparse
import io
import json
import struct
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from ferkit import ImageError, load_image

SIDE = 48
MAX_PIXELS = 1_000_000  # a header that claims more is refused at once; a real decoder's work stays small


def seeds() -> dict[str, bytes]:
    """Return one small file of every format that Pillow opens, by a name that begins with Pillow's own."""
    y, x = np.mgrid[:SIDE, :SIDE]
    rgb = Image.fromarray(np.dstack([4 * x, 4 * y, 2 * (x + y)]).astype(np.uint8))
    grey, one, frames = rgb.convert("L"), rgb.convert("1"), [rgb.rotate(90)]
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x011A] = 6, "maker", 72.0
    deep = Image.fromarray((257 * np.asarray(grey).astype(np.uint16)).astype(np.uint16))
    written: dict[str, tuple[Image.Image, dict[str, object]]] = {
        "JPEG": (rgb, {"exif": exif}),
        "JPEG progressive": (rgb, {"progressive": True, "exif": exif}),
        "JPEG cmyk": (rgb.convert("CMYK"), {}),
        "PNG": (rgb, {"exif": exif}),
        "PNG 16": (deep, {}),
        "PNG palette": (rgb.quantize(16), {"transparency": 0}),
        "PNG animated": (rgb, {"save_all": True, "append_images": frames}),
        "GIF": (rgb, {"save_all": True, "append_images": frames}),
        "WEBP": (rgb, {"exif": exif}),
        "WEBP animated": (rgb, {"save_all": True, "append_images": frames}),
        "AVIF": (rgb, {"exif": exif}),
        "JPEG2000": (rgb, {}),
        "TIFF": (rgb, {"exif": exif}),
        "TIFF lzw": (rgb, {"compression": "tiff_lzw", "exif": exif}),
        "TIFF jpeg": (rgb, {"compression": "jpeg"}),
        "TIFF group4": (one, {"compression": "group4"}),
        "MPO": (rgb, {"save_all": True, "append_images": frames}),
        "BMP": (rgb, {}),
        "DIB": (rgb, {}),
        "BLP": (rgb.quantize(16), {}),
        "DDS": (rgb, {}),
        "EPS": (rgb, {}),
        "ICNS": (rgb, {}),
        "ICO": (rgb, {}),
        "ICO bmp": (rgb, {"bitmap_format": "bmp"}),
        "IM": (rgb, {}),
        "MSP": (one, {}),
        "PCX": (rgb, {}),
        "PPM": (rgb, {}),
        "QOI": (rgb, {}),
        "SGI": (rgb, {"rle": 1}),
        "SPIDER": (grey.convert("F"), {}),
        "TGA": (rgb, {"compression": "tga_rle"}),
        "XBM": (one, {}),
    }
    files = {}
    for name, (picture, options) in written.items():
        buffer = io.BytesIO()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # some formats are to leave Pillow one day
                picture.save(buffer, name.split(" ", maxsplit=1)[0], **options)
        except (KeyError, OSError):  # this Pillow was built without it
            continue
        files[name] = buffer.getvalue()
    return files | _by_hand(rgb, files) | _heif(rgb)


def _heif(rgb: Image.Image) -> dict[str, bytes]:
    buffer = io.BytesIO()
    try:
        import pillow_heif

        pillow_heif.from_pillow(rgb).save(buffer)
    except (ImportError, RuntimeError):
        return {}
    return {"HEIC": buffer.getvalue()}


def _by_hand(rgb: Image.Image, files: dict[str, bytes]) -> dict[str, bytes]:
    """Return files of the formats that Pillow reads and does not write."""
    raw, grey = rgb.tobytes(), rgb.convert("L").tobytes()
    card = lambda text: text.encode().ljust(80)  # noqa: E731
    fits = b"".join(
        card(t) for t in ("SIMPLE  =                    T", "BITPIX  = 8", "NAXIS   = 2", f"NAXIS1  = {SIDE}", f"NAXIS2  = {SIDE}", "END")
    )
    fli_frame = struct.pack("<IHH8x", 6 + 16 + SIDE * SIDE + 6, 0xF1FA, 1) + struct.pack("<IH", SIDE * SIDE + 6, 16) + grey
    fli = struct.pack("<IHHHHHHI", 128 + len(fli_frame), 0xAF11, 1, SIDE, SIDE, 8, 0, 5)
    psd = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, SIDE, SIDE, 8, 3) + struct.pack(">IIIH", 0, 0, 0, 0)
    psd += b"".join(raw[c::3] for c in range(3))
    sun = struct.pack(">8I", 0x59A66A95, SIDE, SIDE, 24, len(raw), 1, 0, 0) + raw
    gbr = struct.pack(">7I", 28 + 8, 2, SIDE, SIDE, 1, 0x47494D50, 10) + b"a brush\0" + grey
    ftex = b"FTEX" + struct.pack("<iiiii", 1, SIDE, SIDE, 1, 1) + struct.pack("<2ii", 1, 32, len(raw)) + raw
    pixar = bytearray(1024)
    pixar[:4], pixar[416:420], pixar[424:428] = b"\x80\xe8\0\0", struct.pack("<HH", SIDE, SIDE), struct.pack("<HH", 14, 2)
    area = struct.pack(">64I", *([0, 4, 0, 0, 0, 0, 0, 0, SIDE, SIDE, 1, 0, 0, 1, 0] + [0] * 19 + [256] + [0] * 29))
    xpm = '/* XPM */\nstatic char *a[] = {\n"8 8 2 1",\n". c #ff0000",\n"x c #00ff00",\n' + ",\n".join(['".x.x.x.x"'] * 8) + "\n};\n"
    pcd = bytearray(96 * 2048 + 768 * 512 * 3 // 2)
    pcd[2048:2052] = b"PCD_"
    wmf = b"\xd7\xcd\xc6\x9a\0\0" + struct.pack("<4hH", 0, 0, 480, 480, 96) + b"\0" * 6 + b"\1\0\x09\0" + b"\0" * 60
    iptc = (
        b"\x1c\x03\x3c\0\x02\1\0"
        + b"\x1c\x03\x14\0\2\0\x30"
        + b"\x1c\x03\x1e\0\2\0\x30"
        + b"\x1c\x03\x78\0\1\1"
        + b"\x1c\x08\x0a\x09\0"
        + grey[:2304]
    )
    return {
        "CUR": files["ICO bmp"][:2] + b"\2" + files["ICO bmp"][3:],
        "DCX": struct.pack("<III", 0x3ADE68B1, 16, 0) + b"\0" * 4 + files["PCX"],
        "FITS": fits.ljust(2880) + grey,
        "FLI": fli.ljust(128, b"\0") + fli_frame,
        "FTEX": ftex,
        "GBR": gbr,
        "IMT": f"*  a picture\nwidth {SIDE}\nheight {SIDE}\n\x0c".encode() + grey,
        "IPTC": iptc,
        "MCIDAS": area + grey,
        "MPEG": b"\0\0\1\xb3" + b"\x03\0\x30\x13\xff\xff\xe0" + grey[:200],
        "PCD": bytes(pcd),
        "PIXAR": bytes(pixar) + raw,
        "PSD": psd,
        "SUN": sun,
        "WMF": wmf,
        "XPM": xpm.encode(),
        "XVTHUMB": f"P7 332\n#XVVERSION\n#END_OF_COMMENTS\n{SIDE} {SIDE} 255\n".encode() + grey,
        "BUFR": b"BUFR" + grey[:99],
        "GRIB": b"GRIB\0\0\0\1" + grey[:99],
        "HDF5": b"\x89HDF\r\n\x1a\n" + grey[:99],
        "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + grey[:400],
    }


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Return a damaged copy: cut, or with bytes changed, removed, doubled, zeroed, or numbers made extreme; headers more often."""
    file = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        reach = len(file) if rng.random() < 0.4 else min(len(file), 256)
        at, size = int(rng.integers(0, max(1, reach))), int(rng.integers(1, 33))
        how = int(rng.integers(0, 7))
        if how == 0:
            del file[at:]
        elif how == 1:
            file[at : at + size] = rng.integers(0, 256, size, np.uint8).tobytes()
        elif how == 2:
            del file[at : at + size]
        elif how == 3:
            file[at:at] = file[at : at + size]
        elif how == 4:
            file[at : at + size] = bytes(size)
        elif how == 5:
            file[at : at + 4] = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\1", b"\x80\0\0\0", b"\1\0\0\0")[int(rng.integers(0, 5))]
        elif at < len(file):
            file[at] ^= 1 << int(rng.integers(0, 8))
    return bytes(file)


def cases(count: int, seed: int) -> Iterator[tuple[str, int, bytes]]:
    """Yield ``count`` damaged files, formats in turn: the name, the number and the bytes."""
    files = [(name, data) for name, data in seeds().items() if data]
    for number in range(count):
        name, data = files[number % len(files)]
        yield name, number, mutated(data, np.random.default_rng((seed, number)))


def outcome(data: bytes) -> str:
    """Return ``image``, ``ImageError``, or the name of what else escaped."""
    try:
        pixels = load_image(data, max_pixels=MAX_PIXELS)
    except ImageError:
        return "ImageError"
    except Exception as error:
        return f"{type(error).__module__}.{type(error).__name__}"
    right = pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
    return "image" if right else f"{pixels.dtype}{pixels.shape}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "fuzz_images.json")
    args = parser.parse_args()
    warnings.simplefilter("error")  # as strictest: a warning that leaves counts too
    table: dict[str, Counter[str]] = {}
    escaped, slowest = [], (0.0, "", 0)
    begun = time.process_time()
    for name, number, data in cases(args.count, args.seed):
        start = time.process_time()
        what = outcome(data)
        slowest = max(slowest, (round(time.process_time() - start, 2), name, number))
        table.setdefault(name, Counter())[what] += 1
        if what not in ("image", "ImageError"):
            escaped.append({"format": name, "number": number, "what": what})
    report = {
        "command": f"python benchmarks/fuzz_images.py --count {args.count} --seed {args.seed}",
        "pillow": Image.__version__,
        "files": args.count,
        "images": sum(row["image"] for row in table.values()),
        "image_errors": sum(row["ImageError"] for row in table.values()),
        "escaped": escaped,
        "slowest": dict(zip(("cpu_s", "format", "number"), slowest, strict=True)),
        "cpu_s": round(time.process_time() - begun, 1),
        "formats": {name: dict(sorted(row.items())) for name, row in sorted(table.items())},
    }
    args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"{args.count:,} files: {report['images']:,} images, {report['image_errors']:,} ImageErrors, {len(escaped)} others; {args.out}")


if __name__ == "__main__":
    main()
