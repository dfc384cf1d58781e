"""Operations of the user's own, described by a primitive: axes, MACs and receptive fields follow them."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import dynpool
from dynpool.analysis import receptive_field
from dynpool.graph.ops import describe
from dynpool.graph.ops.operation import Operation
from dynpool.graph.primitives import Elementwise, Make, Permute, Primitive, Product, View, Window


@torch.library.custom_op("dynpool_test::blur", mutates_args=())
def blur(x: Tensor, size: int, stride: int = 1) -> Tensor:
    return F.avg_pool2d(x, size, stride, size // 2)


@blur.register_fake
def _(x: Tensor, size: int, stride: int = 1) -> Tensor:
    return F.avg_pool2d(x, size, stride, size // 2)


@torch.library.custom_op("dynpool_test::mix_channels", mutates_args=())
def mix_channels(weight: Tensor, x: Tensor) -> Tensor:
    return F.conv2d(x, weight)


@mix_channels.register_fake
def _(weight: Tensor, x: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0], *x.shape[2:])


@torch.library.custom_op("dynpool_test::unknown", mutates_args=())
def unknown(x: Tensor) -> Tensor:
    return x.clone()


@unknown.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


@dynpool.register_op("dynpool_test::blur")
def describe_blur(op: Operation) -> Primitive:
    size, stride = op["size"], op["stride"]
    return Window(op["x"], kernel=(size, size), stride=(stride, stride), padding=(size // 2, size // 2))


@dynpool.register_op("dynpool_test::mix_channels")
def describe_mix_channels(op: Operation) -> Primitive:
    return Window(op["x"], kernel=(1, 1), weight=op["weight"])


class Own(nn.Module):
    """A strided convolution, a blur, a mixture of channels and a pool."""

    def __init__(self, stride: int = 1, *, known: bool = True) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.weight = nn.Parameter(torch.randn(4, 8, 1, 1))
        self.pool = nn.MaxPool2d(2)
        self.stride, self.known = stride, known

    def forward(self, x: Tensor) -> Tensor:
        x = blur(self.stem(x), 5, self.stride)
        return self.pool(mix_channels(self.weight, x if self.known else unknown(x)))


def test_convert_follows_sizes_through_a_described_operation() -> None:
    model = dynpool.convert(Own(), (3, 32, 32))
    assert set(dynpool.resolutions(model)) == {"stem", "pool"}
    assert dynpool.conversion_report(model).not_understood == ()
    dynpool.set_sizes(model, {"stem": (11, 23), "pool": (4, 9)})
    assert model(torch.randn(1, 3, 32, 32)).shape == (1, 4, 4, 9)


def test_an_operation_without_a_description_fixes_the_sizes_that_it_meets() -> None:
    with pytest.raises(
        ValueError, match=r"pinned .* an operation without a rule in the model \(dynpool_test.unknown\)"
    ):
        dynpool.convert(Own(known=False), (3, 32, 32))


def test_a_described_operation_with_a_stride_opens_a_resolution_that_stays_as_it_is() -> None:
    graph = dynpool.trace(Own(stride=2), (3, 32, 32))
    assert [(r.kind, r.in_size, r.out_size) for r in graph.resizes] == [
        ("convolution", (32, 32), (16, 16)),
        ("blur", (16, 16), (8, 8)),
        ("max_pool2d_with_indices", (8, 8), (4, 4)),
    ]
    assert graph.resizes[1].output((20, 21)) == (10, 11)


def test_weights_of_a_described_operation_are_counted() -> None:
    report = dynpool.count_macs(Own(), (3, 32, 32))
    assert report.total == 16 * 16 * (8 * 3 * 9 + 4 * 8)
    assert report.by_layer[""] == 16 * 16 * 4 * 8
    assert report.large_not_counted == ()
    assert dynpool.count_macs(Own(known=False), (3, 32, 32)).large_not_counted == ("dynpool_test.unknown",)


def test_receptive_fields_know_the_window_of_a_described_operation() -> None:
    report = receptive_field(Own(stride=2), (3, 32, 32))
    rows = {row.kind: row for row in report.layers}
    assert [row.kind for row in report.layers] == ["convolution", "blur", "mix_channels", "max_pool2d"]
    assert (rows["mix_channels"].parameters, rows["mix_channels"].macs) == (4 * 8, 8 * 8 * 4 * 8)
    assert rows["blur"].r_min == (11, 11)  # 3 + (5 - 1) * 2
    assert rows["blur"].effective_stride == (4, 4)
    assert rows["max_pool2d"].r_min == (15, 15)
    assert report.seen("blur", (0, 0)) == ((0, 5), (0, 5))  # 2 pixels of padding of its own, 1 of the stem's
    assert not report.not_understood


def test_a_later_description_replaces_an_earlier_one() -> None:
    dynpool.register_op("dynpool_test::unknown")(lambda op: Elementwise((op["x"],)))
    try:
        assert set(dynpool.resolutions(dynpool.convert(Own(known=False), (3, 32, 32)))) == {"stem", "pool"}
        dynpool.register_op("dynpool_test::unknown")(lambda op: Make(op["x"]))
        assert receptive_field(Own(known=False), (3, 32, 32)).layers[-1].kind == "blur"
    finally:
        describe._REGISTERED.pop("dynpool_test.unknown")


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("blur", ValueError, "namespace::name"),
        ("dynpool_test::blurr", ValueError, "must be operations that PyTorch knows, got .dynpool_test::blurr."),
        ("aten::convolution", ValueError, "that this library describes already, got .aten::convolution."),
        ("aten::relu", ValueError, "that this library describes already, got .aten::relu."),  # as all pointwise ones
        (blur, TypeError, "must be strings"),
    ],
)
def test_a_name_that_is_none_is_refused(name: object, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        dynpool.register_op(name)  # type: ignore[arg-type]


def test_a_description_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match="must be callable, got 3"):
        dynpool.register_op("dynpool_test::blur")(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("description", "error", "said"),
    [
        (lambda op: None, TypeError, "dynpool_test.unknown must return one of dynpool.graph.primitives, got None"),
        (lambda op: View(op["x"].shape), TypeError, "View.x in the description of .* must be a tensor, got"),
        (lambda op: Elementwise((op["y"],)), ValueError, "no argument 'y'; its arguments are x"),
        (lambda op: Permute(op.x, (0, 1, 3, 2)), ValueError, r"gives the shape \(1, 8, 16, 8\), but it gave"),
        (lambda op: Window(op.x, (2, 2), stride=(2, 2)), ValueError, r"gives the shape \(1, 8, 4, 8\), but it gave"),
        (lambda op: Window(op.x, (2, 2), stride=(2,)), ValueError, "stride must have 2 ints, as kernel has"),
        (
            lambda op: Product(op.x, op.get("y")),
            TypeError,
            "Product.b in the description .* must be a tensor, got None",
        ),
    ],
)
def test_a_description_that_does_not_fit_is_named(
    description: object, error: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(describe._REGISTERED, "dynpool_test.unknown", description)
    with pytest.raises(error, match=said):
        dynpool.trace(Own(known=False), (3, 16, 32))
