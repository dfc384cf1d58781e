"""Models that take more than one image: their other arguments, or a dtype, are given once, at the conversion."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

import dynpool
from dynpool import analysis, baselines

SIZE = (3, 32, 32)


class Masked(nn.Module):
    """A classifier of an image, a mask of its pixels and five numbers."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1), nn.MaxPool2d(2)]
        self.maps = nn.Sequential(*layers, nn.Conv2d(8, 8, 3, padding=1))
        self.head = nn.Linear(8 + 5, 10)

    def forward(self, image: Tensor, numbers: Tensor, mask: Tensor) -> Tensor:
        return self.head(torch.cat([self.maps(torch.where(mask, image, 0)).mean((2, 3)), numbers], 1))


class Bytes(nn.Module):
    """Normalises images of bytes, and only those."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1))

    def forward(self, image: Tensor) -> Tensor:
        assert image.dtype == torch.uint8
        return self.maps(image / 255)


BYTES = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)


@dataclass
class Options:
    scale: float = 1.0


def arguments(height: int = 32, width: int = 32) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(height)
    mask = torch.rand(2, 1, height, width, generator=draw) > 0.5
    return torch.randn(2, 3, height, width, generator=draw), torch.randn(2, 5, generator=draw), mask


def test_all_that_follows_a_conversion_knows_the_other_arguments(tmp_path):
    plain = Masked().eval()
    model = dynpool.convert(plain, inputs=arguments())
    assert dynpool.sizes(model, SIZE) == {"input": (32, 32), "maps.1": (16, 16), "maps.3": (8, 8)}
    assert dynpool.sizes(plain, SIZE, inputs=arguments()) == dynpool.sizes(model, SIZE)
    dynpool.set_sizes(model, {"maps.1": (11, 13), "maps.3": (6, 7)})
    for size in ((32, 32), (48, 40)):  # the mask grows with the image
        macs = dynpool.count_macs(model, (3, *size)).total
        assert dynpool.GMACsLoss(model, (3, *size))().item() * 1e9 == pytest.approx(macs, rel=1e-6)
        (h, w), (p, q), (r, s) = dynpool.sizes(model, (3, *size)).values()
        assert macs == 9 * (24 * h * w + 64 * p * q + 64 * r * s) + 13 * 10
    tracker = analysis.IMinTracker(model, SIZE, tmp_path / "i_min.jsonl")
    assert tracker.log(0)["i_min"] == list(analysis.receptive_field(model, SIZE).i_min)
    frozen = dynpool.freeze(model)
    for given in (arguments(), arguments(40, 36)):
        torch.testing.assert_close(frozen(*given), model(*given))


def test_a_checkpoint_describes_them(tmp_path):
    model = dynpool.convert(Masked().eval(), inputs=arguments())
    dynpool.set_sizes(model, {"maps.1": (11, 13)})
    dynpool.save(model, tmp_path / "model.safetensors")
    loaded = dynpool.load(Masked().eval(), tmp_path / "model.safetensors")
    assert torch.equal(loaded(*arguments(40, 36)), model(*arguments(40, 36)))
    assert dynpool.count_macs(loaded, SIZE).total == dynpool.count_macs(model, SIZE).total


def test_an_image_by_keyword_is_found_wherever_it_stands():
    plain = Masked().eval()
    image, numbers, mask = arguments()
    model = dynpool.convert(plain, SIZE, inputs={"numbers": numbers.new_zeros(2, 5), "mask": mask, "image": image})
    dynpool.set_sizes(model, {"maps.1": (11, 13)})
    reference = dynpool.convert(plain, inputs=arguments())
    dynpool.set_sizes(reference, {"maps.1": (11, 13)})
    image, numbers, mask = arguments(40, 36)
    expected = reference(image, numbers, mask)
    for live in (model, dynpool.freeze(model)):
        torch.testing.assert_close(live(mask=mask, numbers=numbers, image=image), expected)


class AfterWords(nn.Module):
    """Takes words (N, L, C) before the image, so that a pass does not begin with its size."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1))

    def forward(self, words: Tensor, image: Tensor) -> Tensor:
        return self.maps(image).mean((2, 3)) + words.mean(1)


def sizes_at(model: nn.Module, path: str) -> list[tuple[int, ...]]:
    seen = []
    model.get_submodule(path).register_forward_hook(lambda module, args, out: seen.append(tuple(out.shape[-2:])))
    return seen


def test_an_image_behind_other_maps_is_found_however_it_is_given():
    words, image = torch.randn(2, 7, 4), torch.randn(2, 3, 64, 64)
    for inputs in ((words, image[..., :32, :32]), {"words": words, "image": image[..., :32, :32]}):
        model = dynpool.convert(AfterWords(), SIZE, inputs=inputs)
        dynpool.set_sizes(model, {"maps.1": (9, 5)})
        for now in (model, dynpool.freeze(model)):
            seen = sizes_at(now, "maps.2")
            now(words, image)
            now(words, image=image)
            now(image=image, words=words)
            assert seen == 3 * [(18, 10)]
        assert dynpool.sizes(model, SIZE)["maps.1"] == (9, 5)


class InAList(AfterWords):
    def forward(self, maps: list[Tensor]) -> Tensor:  # type: ignore[override]
        return super().forward(*maps)


def test_an_image_in_a_container_is_refused():
    with pytest.raises(ValueError, match=r"inputs must have the image of size \(3, 32, 32\) as an argument of its own"):
        dynpool.convert(InAList(), SIZE, inputs=([torch.randn(2, 7, 4), torch.randn(2, 3, 32, 32)],))


class Scaled(Masked):
    """Multiplies the image by a map that is the same for all images."""

    def forward(self, mask: Tensor, image: Tensor) -> Tensor:  # type: ignore[override]
        return self.maps(image / 255 * mask)


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_the_image_is_the_tensor_of_its_size_and_its_batch_counts(dtype):
    given = {"mask": torch.ones(1, 1, 32, 32), "image": torch.ones(4, 3, 32, 32, dtype=dtype)}
    alone = dynpool.count_macs(Scaled().maps, SIZE).total
    for inputs in (given, tuple(given.values())):
        assert dynpool.count_macs(Scaled(), SIZE, inputs=inputs).total == alone
        model = dynpool.convert(Scaled(), SIZE, inputs=inputs)
        assert dynpool.count_macs(model, SIZE).total == alone
        assert model(*given.values()).shape == (4, 8, 8, 8)


class Weighted(Masked):
    def forward(self, image: Tensor, weights: Tensor) -> Tensor:  # type: ignore[override]
        return self.maps(image) * weights[:, :8, None, None]


def test_vectors_as_long_as_the_image_is_wide_are_no_maps():
    model = dynpool.convert(Weighted(), inputs=(torch.randn(32, 3, 32, 32), torch.randn(32, 32)))
    assert dynpool.count_macs(model, (3, 64, 64)).total == 4 * dynpool.count_macs(model, SIZE).total


def test_what_contradicts_the_inputs_is_an_error():
    with pytest.raises(ValueError, match="batch is 8, but inputs are given: their batch counts"):
        dynpool.convert(Masked(), inputs=arguments(), batch=8)
    with pytest.raises(ValueError, match=r"no tensor of inputs has the size \(5, 32, 32\)"):
        dynpool.convert(Masked(), (5, 32, 32), inputs=arguments())
    with pytest.raises(ValueError, match="there is no tensor in them"):
        dynpool.convert(Masked(), inputs=([[1.0]],))
    model = dynpool.convert(Masked(), inputs=arguments())
    with pytest.raises(ValueError, match="batch is 3, but inputs are given"):
        dynpool.count_macs(model, SIZE, batch=3)
    with pytest.raises(ValueError, match=r"dtype is torch\.uint8, but inputs are given"):
        dynpool.count_macs(model, SIZE, dtype=torch.uint8)
    taken = dynpool.count_macs(dynpool.convert(Bytes(), SIZE, dtype=torch.uint8), inputs=BYTES)
    assert taken.input_size == (3, 16, 16)


def test_bytes_are_what_a_model_is_traced_with(tmp_path):
    with pytest.raises(ValueError, match="AssertionError"):
        dynpool.convert(Bytes(), SIZE)
    model = dynpool.convert(Bytes(), SIZE, dtype=torch.uint8)
    image = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    dynpool.set_sizes(model, {"maps.1": (9, 5)})
    assert dynpool.GMACsLoss(model, SIZE)().item() * 1e9 == pytest.approx(9 * (12 * 1024 + 16 * 45))
    dynpool.save(model, tmp_path / "model.safetensors")
    assert torch.equal(dynpool.load(Bytes(), tmp_path / "model.safetensors")(image), model(image))
    assert dynpool.sizes(Bytes(), SIZE, dtype=torch.uint8)["maps.1"] == (16, 16)


def test_the_baselines_take_them_too():
    plain = Masked().eval()
    _, plan = baselines.refine(plain, (3, 16, 16), inputs=arguments(16, 16))
    assert plan.i_min_before == (18, 18)
    assert plan.reached
    refined = plan.apply(plain)
    assert refined(*arguments(16, 16)).shape == (2, 10)
    adapted = baselines.shape_adaptor_network(plain, SIZE, inputs=arguments(), adaptors=1, last_size=20)
    assert adapted(*arguments(40, 36)).shape == (2, 10)
    assert dynpool.count_macs(adapted, SIZE).total > 0


def test_hand_placed_resizers_are_set_frozen_and_costed_with_them():
    model = Masked().eval()
    model.maps[1] = baselines.DiffStride2d()
    dynpool.set_sizes(model, {"maps.1": (12, 14)}, input_size=SIZE, inputs=arguments())
    assert dynpool.sizes(model, SIZE, inputs=arguments())["maps.1"] == (12, 14)
    frozen = dynpool.freeze(model, input_size=SIZE, inputs=arguments())
    torch.testing.assert_close(frozen(*arguments()), model(*arguments()))
    loss = dynpool.GMACsLoss(model, SIZE, inputs=arguments())
    assert loss().item() * 1e9 == pytest.approx(dynpool.count_macs(model, SIZE, inputs=arguments()).total, rel=1e-6)


def test_an_image_without_a_batch_is_named():
    with pytest.raises(ValueError, match=r"can be learned along \(length,\) of input_size=\(32, 32\):"):
        dynpool.convert(Bytes(), inputs=torch.zeros(3, 32, 32, dtype=torch.uint8))


class Optioned(Masked):
    def forward(self, image: Tensor, options: Options) -> Tensor:  # type: ignore[override]
        return self.maps(image * options.scale)


def test_an_argument_that_a_file_cannot_describe_says_so_at_loading(tmp_path):
    image, options = torch.randn(1, 3, 32, 32), Options()
    model = dynpool.convert(Optioned(), inputs=(image, options))
    dynpool.save(model, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"an input of type Options, which a file does not describe.*conversion="):
        dynpool.load(Optioned(), tmp_path / "model.safetensors")
    given = {"input_size": SIZE, "inputs": (image, options)}
    loaded = dynpool.load(Optioned(), tmp_path / "model.safetensors", conversion=given)
    assert torch.equal(loaded(image, options), model(image, options))
