"""Decoding of image files to 8-bit pixels."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from einops import rearrange
from PIL import Image, ImageOps

from .errors import DataError

__all__ = ["DECODING", "decode_image", "open_image"]

DECODING = 2
"""Version of the decoding, increased whenever pixels may change, so that caches are rebuilt."""

BITS_PER_SAMPLE = 258  # a TIFF tag
SIXTEEN_BITS = frozenset({"PNG", "PPM"})  # formats of which Pillow opens anything deeper than 8 bits as 16 bits

DAMAGE = (
    OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, TypeError, OverflowError, ZeroDivisionError,
    MemoryError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
"""Errors that Pillow's readers raise for damaged or excessively large files."""


def open_image(path: Path, channels: int) -> Image.Image:
    """One image of 8 bits a channel, of its own size.

    The EXIF orientation is applied. Animations give their first frame; transparency is dropped, as by torchvision's
    ImageFolder. 16-bit grey becomes 8-bit by round(v / 257), whatever part of the range is used, and TIFF's 9 to 15
    bits likewise by their full range; floats must be from 0 to 1 and become round(255 v).

    Args:
        path: the file.
        channels: 3 for colour, 1 for grey (luma of ITU-R BT.601).

    Raises:
        DataError: if it cannot be decoded, or the range of its values is unknown; the message names the file.
    """
    try:
        with Image.open(path) as file:
            return ImageOps.exif_transpose(_eight_bits(file)).convert("RGB" if channels == 3 else "L")
    except DAMAGE as error:
        raise DataError(f"{path}: cannot be decoded: {error or type(error).__name__}") from error


def decode_image(path: Path, side: int, channels: int, *, margin: float = 1.0) -> npt.NDArray[np.uint8]:
    """One image as uint8 (C, side, side): its shorter side is scaled to `side` / `margin`, then its centre is cropped.

    Args:
        path: the file.
        side: height and width of the result in pixels.
        channels: see `open_image`.
        margin: part of the shorter side that the crop keeps.

    Raises:
        DataError: see `open_image`.
    """
    image = open_image(path, channels)
    scale = round(side / margin) / min(image.size)
    w, h = (max(side, round(n * scale)) for n in image.size)
    try:
        image = image.resize((w, h), Image.Resampling.BILINEAR)
    except DAMAGE as error:
        raise DataError(f"{path}: cannot be decoded: {error or type(error).__name__}") from error
    left, top = (w - side) // 2, (h - side) // 2
    pixels = np.asarray(image.crop((left, top, left + side, top + side)))
    return rearrange(pixels, "h w c -> c h w") if channels == 3 else pixels[None]


def _eight_bits(image: Image.Image) -> Image.Image:
    """The image with values from 0 to 255 and its EXIF data.

    Raises:
        ValueError: if the range of its values is unknown.
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
        raise ValueError("32-bit or signed integers, whose range is not known; allowed: 8 or 16 bits")
    else:
        return image.convert("RGBA") if "transparency" in image.info else image  # Pillow warns if a palette has alpha
    scaled = Image.fromarray(np.rint(values * (255.0 / largest)).astype(np.uint8))
    scaled.getexif().load(image.getexif().tobytes())
    return scaled
