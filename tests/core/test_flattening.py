"""Pictures made smaller band by band: what Pillow makes of them whole, without its copies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from ferkit.flattening import flat, is_transparent, shrunk_to
from ferkit.images import load
from tests.helpers.serving import encoded

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB")


def picture(mode: str, width: int = 331, height: int = 517) -> Image.Image:
    rng = np.random.default_rng(5)
    channels = Image.merge("RGBA", [Image.fromarray(rng.integers(0, 256, (height, width), np.uint8)) for _ in range(4)])
    if mode == "PA":
        return channels.convert("P").convert("PA")
    return Image.frombytes("LAB", (width, height), channels.convert("RGB").tobytes()) if mode == "LAB" else channels.convert(mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("size", [(64, 100), (100, 33)])
def test_it_is_what_pillow_makes_of_the_whole(mode: str, factor: int, size: tuple[int, int]) -> None:
    whole = picture(mode)
    plain = whole.convert({"1": "L", "P": "RGB", "PA": "RGBA"}.get(mode, mode))
    wanted = (plain.reduce(factor) if factor > 1 else plain).resize(size, Image.Resampling.BILINEAR)
    found = shrunk_to(whole, factor, size)
    assert (found.mode, found.size) == (wanted.mode, size)
    # As they are shown: a color that is hardly seen is rounded coarsely. Where the height shrinks more Pillow begins with it, and rounds otherwise.
    shown, same = (np.asarray(flat(one), np.int16) if is_transparent(one) else np.asarray(one, np.int16) for one in (found, wanted))
    apart = np.abs(shown - same)
    apart = np.minimum(apart, 256 - apart)  # LAB's colors go round
    assert apart.max() <= (0 if size == (64, 100) else 3)
    assert apart.mean() < 0.5


@pytest.mark.parametrize("mode", [*MODES, "I;16"])
def test_no_mode_is_copied_whole_while_it_is_shrunk(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Grey with alpha took a worker of the service 850 MB at 49 megapixels: four bytes a pixel, three times over."""
    taken: list[int] = []

    def watched(name: str) -> None:
        own = getattr(Image.Image, name)

        def noted(self: Image.Image, *args: Any, **options: Any) -> Any:
            made = own(self, *args, **options)
            if name != "_getexif":
                taken.append(made.width * made.height)
            return made

        monkeypatch.setattr(Image.Image, name, noted)

    whole = picture("L").resize((900, 3000)).point(lambda value: value * 257, "I") if mode == "I;16" else picture(mode, 900, 3000)
    for name in ("convert", "resize", "reduce"):
        watched(name)
    kept = Image.fromarray(np.asarray(whole, np.uint16)) if mode == "I;16" else whole
    loaded = load(kept, max_side=1600)
    assert loaded.pixels.shape == (1600, 480, 3)
    assert max(taken, default=0) <= 480 * 3000


def test_sixteen_bits_become_eight_in_bands(tmp_path: Any) -> None:
    values = np.random.default_rng(3).integers(0, 65536, (700, 40), np.uint16)
    pixels = load(encoded(Image.fromarray(values), "PNG")).pixels
    assert np.array_equal(pixels[:, :, 0], (values.astype(np.uint32) * 255 + 32767) // 65535)
    assert (pixels == pixels[:, :, :1]).all()
    halved = load(encoded(Image.fromarray(values), "PNG"), max_side=350).pixels
    assert halved.shape == (350, 20, 3)
    assert np.abs(halved[:, :, 0] - pixels[:, :, 0].reshape(350, 2, 20, 2).mean(axis=(1, 3))).max() <= 1
