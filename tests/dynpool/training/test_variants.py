"""What each controlled variant does to the pixels."""

import pytest
import torch

from dynpool.training.variants import VARIANTS, canvas, large, plain, resize, stretch, tile


@pytest.fixture
def images():
    return torch.randint(0, 256, (20, 2, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(1)


@pytest.mark.parametrize("name", VARIANTS)
def test_all_give_uint8_of_the_side_asked_for_and_repeat_with_the_seed(images, name):
    first, second = (VARIANTS[name](images, 32, torch.Generator().manual_seed(5)) for _ in range(2))
    assert first.shape == (20, 2, 32, 32)
    assert first.dtype == torch.uint8
    assert torch.equal(first, second)


def test_plain_at_the_own_size_is_the_image(images, generator):
    assert torch.equal(plain(images, 8, generator), images)


def test_tile_repeats_the_halved_image_four_times_an_axis(images, generator):
    tiled = tile(images, 16, generator)
    halved = resize(images, 4, 4)
    for i in range(4):
        for j in range(4):
            assert torch.equal(tiled[..., 4 * i : 4 * i + 4, 4 * j : 4 * j + 4], halved)


def test_stretch_is_a_crop_of_the_image_twice_as_tall(images, generator):
    tall = resize(images, 16, 8)
    for whole, part in zip(tall, stretch(images, 8, generator), strict=True):
        assert any(torch.equal(whole[:, top : top + 8], part) for top in range(9))


def test_large_has_the_detail_of_half_the_side(images, generator):
    assert torch.equal(large(images, 16, generator), resize(images, 16, 16))


def test_large_with_a_detail_is_made_smaller_then_enlarged(images, generator):
    for detail in (4, 8, 24):
        assert torch.equal(large(images, 24, generator, detail), resize(resize(images, detail, detail), 24, 24))
    assert torch.equal(large(images, 24, generator, 8), plain(images, 24, generator)), "their own size loses nothing"
    assert not torch.equal(large(images, 24, generator, 4), large(images, 24, generator, 8))


@pytest.mark.parametrize("side", [8, 13, 32])
def test_canvas_of_any_size_holds_an_object_of_the_detail(images, generator, side):
    found = canvas(images, side, generator, 8)
    assert found.shape == (20, 2, side, side)
    for small, whole in zip(images, found, strict=True):
        places = [
            (y, x)
            for y in range(side - 7)
            for x in range(side - 7)
            if torch.equal(whole[:, y : y + 8, x : x + 8], small)
        ]
        assert len(places) == 1
        assert int(whole.long().sum()) == int(small.long().sum())


@pytest.mark.parametrize("variant", [plain, stretch, tile])
def test_other_variants_have_no_detail(images, variant):
    first, second = (variant(images, 16, torch.Generator().manual_seed(3), detail) for detail in (None, 4))
    assert torch.equal(first, second)


def test_canvas_holds_the_object_once_and_black_elsewhere(images, generator):
    places = set()
    for small, whole in zip(images, canvas(images, 16, generator), strict=True):
        found = [(y, x) for y in range(9) for x in range(9) if torch.equal(whole[:, y : y + 8, x : x + 8], small)]
        assert len(found) == 1
        assert int(whole.long().sum()) == int(small.long().sum())
        places.add(found[0])
    assert len(places) > 10
