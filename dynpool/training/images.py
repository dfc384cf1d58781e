"""Image files of any kind as 8-bit pixels."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from .errors import DataError

__all__ = ["DECODING", "decode_image"]

DECODING = 2
"""Goes up whenever a file may be decoded to other pixels than before, so that caches are rebuilt."""

BITS_PER_SAMPLE = 258  # a tag of TIFF
SIXTEEN_BITS = frozenset({"PNG", "PPM"})  # of these Pillow opens what is deeper than 8 bits as 16, whatever the mode

DAMAGE = (
    OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, TypeError, OverflowError, ZeroDivisionError,
    MemoryError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow's readers raise on files that are damaged, and on ones of absurd size."""


def decode_image(path: Path, side: int, channels: int) -> npt.NDArray[np.uint8]:
    """One image as uint8 (C, side, side): its shorter side scaled to `side`, its centre cut out.

    It is turned as its EXIF orientation says. Of an animation it is the first picture; transparency is left out, as
    torchvision's ImageFolder does. 16-bit grey becomes 8-bit by round(v / 257), whatever part of the range is used, and
    TIFF's 9 to 15 bits likewise by their own range; floats must be from 0 to 1 and become round(255 v).

    Args:
        path: the file.
        side: pixels of both sides of the result.
        channels: 3 for colours, 1 for grey (luma of ITU-R BT.601).

    Raises:
        DataError: it cannot be decoded, or the range of its values is not known; names the file.
    """
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(_eight_bits(file)).convert("RGB" if channels == 3 else "L")
            scale = side / min(image.size)
            w, h = (max(side, round(n * scale)) for n in image.size)
            image = image.resize((w, h), Image.Resampling.BILINEAR)
            left, top = (w - side) // 2, (h - side) // 2
            pixels = np.asarray(image.crop((left, top, left + side, top + side)))
    except DAMAGE as error:
        raise DataError(f"{path}: cannot be decoded: {error or type(error).__name__}") from error
    return pixels.reshape(side, side, channels).transpose(2, 0, 1)


def _eight_bits(image: Image.Image) -> Image.Image:
    """The image with its EXIF data, its values from 0 to 255.

    Raises:
        ValueError: what its values range over is not known.
    """
    if image.mode == "F":
        values = np.asarray(image)
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= 1):
            raise ValueError(f"floats from {low:g} to {high:g}; allowed: 0 (black) to 1 (white)")
        largest = 1.0
    elif image.mode.startswith("I;16") or (image.mode == "I" and image.format in SIXTEEN_BITS):
        bits = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (16,))[0]
        values, largest = np.asarray(image), float(2**bits - 1)
    elif image.mode == "I":
        raise ValueError("32-bit or signed integers, whose black and white are not known; allowed: 8 or 16 bits")
    else:
        return image.convert("RGBA") if "transparency" in image.info else image  # else Pillow warns of palettes
    scaled = Image.fromarray(np.rint(values * (255.0 / largest)).astype(np.uint8))
    scaled.getexif().load(image.getexif().tobytes())
    return scaled
