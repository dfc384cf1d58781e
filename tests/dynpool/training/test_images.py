"""Image files become the 8-bit pixels that they mean, or are refused by name."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from dynpool.training.errors import DataError
from dynpool.training.images import decode_image

LEVELS = np.array([[0, 10], [100, 255]], dtype=np.uint8)


def saved(path, pixels, mode=None, **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_are_scaled_to_eight(tmp_path, name):
    deep = LEVELS.astype(np.uint16) * 257 + np.array([[0, 128], [100, 0]], dtype=np.uint16)  # rounds down: 128 / 257
    path = saved(tmp_path / name, deep)
    assert decode_image(path, 2, 1)[0].tolist() == LEVELS.tolist()
    assert decode_image(path, 2, 3).tolist() == [LEVELS.tolist()] * 3


@pytest.mark.parametrize("bits", [12, 16])
def test_deep_portable_greymaps_have_their_own_white(tmp_path, bits):
    white = 2**bits - 1
    values = np.rint(LEVELS / 255 * white).astype(">u2")
    (tmp_path / "a.pgm").write_bytes(f"P5 2 2 {white}\n".encode() + values.tobytes())
    assert decode_image(tmp_path / "a.pgm", 2, 1)[0].tolist() == LEVELS.tolist()


def test_floats_from_zero_to_one(tmp_path):
    path = saved(tmp_path / "a.tif", LEVELS.astype(np.float32) / 255)
    assert decode_image(path, 2, 1)[0].tolist() == LEVELS.tolist()


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (LEVELS.astype(np.float32), "floats from 0 to 255; allowed: 0"),
        (-LEVELS.astype(np.float32), "floats from -255 to -?0; allowed: 0"),
        (np.full((2, 2), np.nan, np.float32), "floats from nan to nan; allowed: 0"),
        (LEVELS.astype(np.int32), "32-bit or signed integers"),
    ],
)
def test_values_of_unknown_range_are_refused(tmp_path, pixels, message):
    path = saved(tmp_path / "a.tif", pixels)
    with pytest.raises(DataError, match=rf"a\.tif: cannot be decoded: {message}"):
        decode_image(path, 2, 1)


# A picture of 2 x 3 pixels (h x w) as it is to be seen, and how a camera stores it that was held otherwise.
SEEN = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
STORED = {
    1: SEEN,
    2: SEEN[:, ::-1],
    3: SEEN[::-1, ::-1],
    4: SEEN[::-1],
    5: SEEN.T,
    6: np.rot90(SEEN, 1),
    7: SEEN[::-1, ::-1].T,
    8: np.rot90(SEEN, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("deep", [False, True])
def test_exif_orientation_is_followed(tmp_path, orientation, deep):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation])
    path = saved(tmp_path / "a.png", stored.astype(np.uint16) * 257 if deep else stored, exif=exif)
    assert decode_image(path, 2, 1)[0].tolist() == SEEN[:, :2].tolist()  # the centre: round((3 - 2) / 2) is 0


def test_transparency_is_left_out(tmp_path):
    colours = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [9, 9, 9]]], dtype=np.uint8)
    alpha = np.array([[0, 255], [128, 7]], dtype=np.uint8)
    expected = colours.transpose(2, 0, 1).tolist()
    assert decode_image(saved(tmp_path / "a.png", np.dstack([colours, alpha])), 2, 3).tolist() == expected
    palette = Image.fromarray(np.array([[0, 1], [2, 3]], dtype=np.uint8), mode="P")
    palette.putpalette(colours.reshape(-1).tolist())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = saved(tmp_path / "p.png", palette, transparency=bytes([0, 255, 128, 7]))
        assert decode_image(path, 2, 3).tolist() == expected
    grey = saved(tmp_path / "la.png", np.dstack([LEVELS, alpha]))
    assert Image.open(grey).mode == "LA"
    assert decode_image(grey, 2, 1)[0].tolist() == LEVELS.tolist()


def test_one_bit(tmp_path):
    path = saved(tmp_path / "a.png", Image.fromarray(np.array([[0, 255], [255, 0]], dtype=np.uint8)).convert("1"))
    assert Image.open(path).mode == "1"
    assert decode_image(path, 2, 3).tolist() == [[[0, 255], [255, 0]]] * 3


def test_cmyk(tmp_path):
    path = saved(tmp_path / "a.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), quality=95)
    assert Image.open(path).mode == "CMYK"
    assert np.allclose(decode_image(path, 8, 3).reshape(3, -1).T, (255, 0, 0), atol=3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP"])
def test_damaged_files_are_named(tmp_path, kind):
    """Cut off anywhere, or with a bit flipped: pixels, or the file's name and no other error."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (12, 12, 3), dtype=np.uint8)).save(buffer, kind)
    whole = buffer.getvalue()
    path = tmp_path / "damaged"
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for cut in range(0, len(whole) - 1, len(whole) // 12):
            for content in (whole[:cut], whole[:cut] + bytes([whole[cut] ^ 4]) + whole[cut + 1 :]):
                path.write_bytes(content)
                try:
                    assert decode_image(path, 4, 3).shape == (3, 4, 4)
                except DataError as error:
                    refused += str(path) in str(error)
    assert refused >= 3
