"""Inputs of a trace: meta tensors of the sizes given, and which of them are the image."""

import pytest
import torch

from dynpool.graph.inputs import check_input_size, make_inputs


def test_one_size_is_one_image_and_a_batch_of_it():
    made = make_inputs((3, 8, 9), None, torch.float16, batch=2)
    (x,) = made.args
    assert (x.shape, x.dtype, x.is_meta) == ((2, 3, 8, 9), torch.float16, True)
    assert (made.size, made.images, made.kwargs, made.batch, made.given) == ((3, 8, 9), (x,), {}, 2, False)


def test_several_sizes_go_by_place_or_name_and_images_are_those_of_the_first_extents():
    made = make_inputs([(3, 8, 9), (5, 8, 9), (4, 7)], None, torch.float32)
    assert [t.shape for t in made.args] == [(1, 3, 8, 9), (1, 5, 8, 9), (1, 4, 7)]
    assert made.images == made.args[:2]
    named = make_inputs({"x": (3, 8, 9), "mask": (1, 8, 9)}, None, torch.float32)
    assert list(named.kwargs) == ["x", "mask"]
    assert named.args == ()


def test_of_given_tensors_only_shape_and_dtype_are_used():
    x, ids = torch.ones(4, 3, 8, 9), torch.ones(4, 7, dtype=torch.int64)
    assert make_inputs(None, (x, ids), torch.float32).size == (3, 8, 9)
    mask = torch.ones(4, 1, 8, 9, dtype=torch.bool)
    assert [t.dtype for t in make_inputs(None, (x, mask), torch.float32).images] == [torch.float32]
    assert make_inputs(None, mask, torch.float32).images[0].dtype == torch.bool
    made = make_inputs((3, 8, 9), (ids, {"x": x}), torch.float32)
    assert all(t.is_meta for t in (made.args[0], made.args[1]["x"]))
    assert made.images == (made.args[1]["x"],)
    assert (made.batch, made.given, made.args[0].dtype) == (4, True, torch.int64)


@pytest.mark.parametrize("size", [3, "abc", (3,), (3, 0), (3, 8.0), (3, True), (1, 2, 3, 4, 5), [], [(3, 8, 9), 4]])
def test_what_is_no_size_is_named(size):
    with pytest.raises(ValueError, match="input_size must be two to four positive ints"):
        make_inputs(size, None, torch.float32)


@pytest.mark.parametrize("size", [(3, 8), (3, 8, 9, 9), (3, 8, 0), None])
def test_an_image_has_channels_height_and_width(size):
    with pytest.raises(ValueError, match=r"three positive ints \(channels, height, width\), got "):
        check_input_size(size, 2)


def test_an_input_has_channels_and_one_to_three_axes():
    assert [check_input_size(size) for size in ([3, 8], (3, 8, 9), (3, 8, 9, 9))] == [(3, 8), (3, 8, 9), (3, 8, 9, 9)]
    allowed = (
        r"two to four positive ints \(channels, length\), \(channels, height, width\) or \(channels, depth, height"
    )
    for size in ((3,), (1, 3, 8, 9, 9), (3, 0), None):
        with pytest.raises(ValueError, match=allowed):
            check_input_size(size)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"no batch dimension: should it be \(3, 8, 9, 9\)"):
        check_input_size((1, 3, 8, 9, 9))


def test_inputs_of_which_none_is_the_image_are_refused():
    with pytest.raises(ValueError, match=r"no tensor of inputs has the extents \(8, 9\)"):
        make_inputs((3, 8, 9), torch.ones(1, 3, 9, 8), torch.float32)
    with pytest.raises(ValueError, match="inputs must be a tensor, a tuple or a dict, got int"):
        make_inputs((3, 8, 9), 4, torch.float32)
    with pytest.raises(ValueError, match=r"input_size is .*; allowed: at most 4,398,046,511,104 values"):
        make_inputs((3, 2**40, 2**40), None, torch.float32)


def test_inputs_at_another_size_change_the_image_and_maps_like_it():
    x, mask, ids = torch.ones(4, 3, 8, 9), torch.ones(4, 8, 9, dtype=torch.bool), torch.ones(4, 8, dtype=torch.int64)
    made = make_inputs(None, (x, [mask, ids, "text"]), torch.float32)
    larger = made.at((3, 16, 27))
    assert (larger.size, larger.batch, larger.given) == ((3, 16, 27), 4, True)
    image, (grown, same, text) = larger.args
    assert (image.shape, grown.shape, same.shape, text) == ((4, 3, 16, 27), (4, 16, 27), (4, 8), "text")
    assert (image.dtype, grown.dtype, image.is_meta) == (torch.float32, torch.bool, True)
    assert larger.images == (image,)
    assert make_inputs((3, 16, 27), made, torch.float32).args[0].shape == image.shape
    assert make_inputs(None, made, torch.float32) is made
    for size in ((1, 16, 27), (3, 16), (3, 4, 8, 9)):
        with pytest.raises(ValueError, match=r"input_size is .*, but the model was given inputs of size \(3, 8, 9\)"):
            made.at(size)
