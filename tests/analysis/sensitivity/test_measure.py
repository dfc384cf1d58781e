"""Each figure equals an independent calculation by set_sizes and autograd, and the model stays as it was to the bit."""

import copy
import functools
import statistics

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import dynpool
from dynpool.baselines import DiffStride2d, ShapeAdaptor2d
from tests.networks import three_resizers, two_resizers

SIZE = (3, 20, 24)


def batches(number=3, images=4, size=SIZE):
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(images, *size, generator=generator), torch.randint(4, (images,), generator=generator))
        for _ in range(number)
    ]


@functools.cache
def converted(network, **options):
    return dynpool.convert(network(), SIZE, **options)


def learned(sizes=None, *, network=three_resizers, **options):
    """A converted network that has seen some images, at sizes of its own."""
    model = copy.deepcopy(converted(network, **options))
    dynpool.set_sizes(model, sizes or {"2": (11, 9), "3": (6, 7), "6": (4, 3)})
    with torch.no_grad():
        for images, _ in batches(2):
            model(images)  # running statistics
    return model


def loss_at(model, sizes, images, target, *, training=False):
    """The loss of a copy at all of these sizes."""
    again = copy.deepcopy(model).train(training)
    dynpool.set_sizes(again, sizes)
    with torch.no_grad():
        return F.cross_entropy(again(images), target).item()


def own_sizes(model) -> dict[str, tuple[int, ...]]:
    return {name: r.size for name, r in dynpool.resolutions(model).items() if r.size is not None}


def state_of(model):
    """Everything that a measurement must leave alone, as values that compare equal only to the bit."""
    hooks = [(list(m._forward_hooks.items()), list(m._forward_pre_hooks.items()), m.training) for m in model.modules()]
    values = {name: t.numpy().tobytes() for name, t in model.state_dict().items()}
    grads = [(p.requires_grad, p.grad is None or p.grad.clone().numpy().tobytes()) for p in model.parameters()]
    return hooks, values, grads, own_sizes(model), torch.get_rng_state().numpy().tobytes()


@pytest.mark.parametrize("training", [False, True])
def test_differences_are_those_of_sizes_set_by_hand(training):
    model, data = learned(), batches()
    report = dynpool.size_sensitivity(model, data, steps=(1, 2), training=training)
    own = own_sizes(model)
    before = [loss_at(model, own, *batch, training=training) for batch in data]
    assert report.loss.mean == pytest.approx(statistics.fmean(before), abs=1e-6)
    assert [(row.name, row.axis, row.size) for row in report.rows] == [
        (name, axis, size) for name, size in own.items() for axis in ("height", "width")
    ]
    for row in report.rows:
        for step, found in row.differences.items():
            h, w = own[row.name]
            moved = {**own, row.name: (h + step, w) if row.axis == "height" else (h, w + step)}
            each = [loss_at(model, moved, *batch, training=training) for batch in data]
            paired = [a - b for a, b in zip(each, before, strict=True)]
            assert found.mean == pytest.approx(statistics.fmean(paired), abs=1e-6)
            assert found.error == pytest.approx(statistics.stdev(paired) / len(data) ** 0.5, abs=1e-6)
        assert set(row.differences) | set(row.unreachable) == {-2, -1, 1, 2}
    assert max(abs(d.mean) for row in report.rows for d in row.differences.values()) > 1e-4, "they are no zeros"


def test_gradients_are_those_of_autograd_through_the_surrogate():
    """d size / d alpha = -H / alpha^2, H the size of the map above (Eq. 4)."""
    model, data = learned(), batches()
    report = dynpool.size_sensitivity(model, data, steps=(1,))
    again = copy.deepcopy(model).eval()
    resolutions = dynpool.resolutions(again)
    above = {"2": SIZE[1:], "3": own_sizes(again)["2"], "6": own_sizes(again)["3"]}
    expected: dict[tuple[str, str], list[float]] = {(row.name, row.axis): [] for row in report.rows}
    for images, target in data:
        again.zero_grad()
        F.cross_entropy(again(images), target).backward()
        for name, r in resolutions.items():
            for k, axis in enumerate(("height", "width")):
                change = -above[name][k] / r.alpha[k].item() ** 2
                assert r.alpha.grad is not None
                expected[name, axis].append(r.alpha.grad[k].item() / change)
    for row in report.rows:
        each = expected[row.name, row.axis]
        assert row.gradient is not None
        assert row.gradient.mean == pytest.approx(statistics.fmean(each), rel=1e-4, abs=1e-9)
        assert row.snr == pytest.approx(abs(statistics.fmean(each)) / statistics.stdev(each), rel=1e-3)


def test_slope_is_the_central_difference_of_the_smallest_step_both_ways():
    report = dynpool.size_sensitivity(learned({"2": (11, 9), "3": (6, 7), "6": (2, 3)}), batches(), steps=(4, 1))
    assert report.steps == (-4, -1, 1, 4)
    for row in report.rows:
        if -1 in row.differences:
            central = (row.differences[1].mean - row.differences[-1].mean) / 2
            assert row.slope is not None
            assert row.gradient is not None
            assert row.slope.mean == pytest.approx(central)
            assert row.agrees == (central * row.gradient.mean > 0)
        else:
            assert row.slope is None
            assert row.agrees is None
            assert not row.clear
    floor = {(row.name, row.axis): row.unreachable for row in report.rows}["6", "height"]
    assert "6 would have 2x3 pixels, not 1x3" in floor[-1], "a learned size has at least two pixels"
    assert "-2x3 pixels" in floor[-4]


def test_a_generator_is_read_once_and_streamed():
    alive, most = 0, 0
    data = batches()

    def stream():
        nonlocal alive, most
        for batch in data:
            alive += 1
            most = max(most, alive)
            yield batch
            alive -= 1

    seen = []
    report = dynpool.size_sensitivity(learned(), stream(), progress=lambda done, total: seen.append((done, total)))
    assert report == dynpool.size_sensitivity(learned(), data)
    assert most == 1
    assert (report.batches, report.images) == (3, 12)
    assert seen == [(k, None) for k in range(report.passes + 1)]
    dynpool.size_sensitivity(learned(), data, progress=lambda *both: seen.append(both))
    assert seen[-1] == (report.passes, report.passes)
    assert report.passes == 3 * (2 + sum(len(row.differences) for row in report.rows))


@pytest.mark.parametrize("end", [None, KeyboardInterrupt, RuntimeError, StopIteration])
def test_the_model_stays_as_it_was_also_after_an_interruption(end):
    model = learned().train()
    model.append(nn.Dropout(0.5))
    F.cross_entropy(model(batches()[0][0]), batches()[0][1]).backward()
    records = []
    model.register_forward_hook(lambda *_: records.append(torch.rand(())))
    calls = 0

    def loss(output, target):
        nonlocal calls
        calls += 1
        torch.rand(3)
        if end is not None and calls == 17:
            raise end
        return F.cross_entropy(output, target)

    def data():
        for batch in batches():
            torch.rand(1)
            yield batch

    before = state_of(model)
    if end is None:
        dynpool.size_sensitivity(model, data(), loss, training=True)
    else:
        with pytest.raises(end):
            dynpool.size_sensitivity(model, data(), loss, training=True)
    assert state_of(model) == before
    assert records == [], "what hooks of the user's keep is as before, too"


def test_the_loader_draws_from_the_generators_as_they_are():
    """Between batches the random state is the caller's, whatever the model draws."""
    drawn = []

    def data():
        for batch in batches():
            drawn.append(torch.rand(1).item())
            yield batch

    model = learned().append(nn.Dropout(0.5))
    torch.manual_seed(5)
    expected = [torch.rand(1).item() for _ in range(3)]
    torch.manual_seed(5)
    dynpool.size_sensitivity(model, data(), steps=(1,), training=True)
    assert drawn == expected
    assert torch.get_rng_state().equal(torch.Generator().manual_seed(5).get_state())


def test_draws_are_the_same_at_each_size():
    """Where a size does not matter, dropout makes no difference."""
    model = learned().append(nn.Dropout(0.5))
    report = dynpool.size_sensitivity(
        model, batches(), lambda output, _: (output != 0).float().mean(), steps=(1,), training=True
    )
    assert report.loss.mean < 1
    assert {d.mean for row in report.rows for d in row.differences.values()} == {0.0}


@pytest.mark.parametrize("preserve", [False, True])
def test_frozen_models_are_measured_as_live_ones(preserve):
    model = learned(preserve=preserve)
    live, frozen = (dynpool.size_sensitivity(m, batches()) for m in (model, dynpool.freeze(model)))
    assert [row.name for row in frozen.rows] == [row.name for row in live.rows]
    for a, b in zip(frozen.rows, live.rows, strict=True):
        assert a.gradient is not None
        assert b.gradient is not None
        assert a.gradient.mean == pytest.approx(b.gradient.mean, rel=1e-5)
        for step, found in b.differences.items():
            assert a.differences[step].mean == pytest.approx(found.mean, abs=1e-6)


def test_plain_models_are_converted_with_their_function():
    network, data = three_resizers().eval(), batches()
    report = dynpool.size_sensitivity(network, data)
    expected = dynpool.size_sensitivity(copy.deepcopy(converted(three_resizers, preserve=True)).eval(), data)
    assert report.rows == expected.rows
    with torch.no_grad():
        own = statistics.fmean(F.cross_entropy(network(images), target).item() for images, target in data)
    assert report.loss.mean == pytest.approx(own, abs=1e-5)
    assert not any(isinstance(module, dynpool.LearnedResizer2d) for module in network.modules())


def test_tied_layers_are_one_resolution():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Conv2d(3, 4, 1, stride=2)
            self.head = nn.Linear(4, 4)

        def forward(self, x):
            return self.head((self.a(x) + self.b(x)).relu().mean((2, 3)))

    torch.manual_seed(0)
    model, data = dynpool.convert(Branches(), SIZE), batches()
    report = dynpool.size_sensitivity(model, data, steps=(1,))
    assert [row.name for row in report.rows] == ["a", "a"]
    moved = [loss_at(model, {"a": (11, 12)}, *b) - loss_at(model, {"a": (10, 12)}, *b) for b in data]
    assert report.rows[0].differences[1].mean == pytest.approx(statistics.fmean(moved), abs=1e-6)


def test_multiples_and_bounds_say_why_a_size_is_not_reachable():
    model = dynpool.convert(two_resizers(), (3, 32, 32), multiple_of=8)
    data = [(torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))]
    rows = dynpool.size_sensitivity(model, data, steps=(1, 8)).rows
    assert [sorted(row.differences) for row in rows] == [[-8, 8], [-8, 8], [8], [8]]
    assert "1 must be (height, width) in multiples of (8, 8) pixels" in rows[0].unreachable[-1]
    narrow = dynpool.convert(two_resizers(), (3, 32, 32))
    for pool in narrow.modules():
        if isinstance(pool, dynpool.DynOPool2d):
            pool.bounds = (0.45, 0.55)
    first, *_ = dynpool.size_sensitivity(narrow, data, steps=(1, 2)).rows
    assert sorted(first.differences) == [-1, 1]
    assert "would leave the bounds of its scale factor, 0.45 to 0.55" in first.unreachable[2]


@pytest.mark.parametrize("pool", [ShapeAdaptor2d, functools.partial(DiffStride2d, smoothness=2.0, shared=True)])
def test_axes_that_share_a_number_move_together(pool):
    model = dynpool.convert(two_resizers(), (3, 32, 32), pool=pool)
    data = [(torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))]
    report = dynpool.size_sensitivity(model, data, steps=(2,))
    assert [row.axis for row in report.rows] == ["both", "both"]
    row = report.rows[0]
    (h, w), other = row.size, report.rows[1].size
    with torch.no_grad():
        before = F.cross_entropy(model.eval()(data[0][0]), data[0][1]).item()
        dynpool.set_sizes(model, {"1": (h + 2, w + 2), "2": other})
        after = F.cross_entropy(model(data[0][0]), data[0][1]).item()
    assert row.differences[2].mean == pytest.approx(after - before, abs=1e-6)


def test_losses_that_are_not_finite_stay_visible():
    data = batches(2)
    data[1][0][0, 0, 0, 0] = torch.inf
    report = dynpool.size_sensitivity(learned(), data, steps=(1,))
    assert not torch.tensor(report.loss.mean).isfinite()
    for row in report.rows:
        assert all(d.mean != d.mean and d.error is None for d in row.differences.values())
        assert row.agrees is None
        assert not row.clear
    assert "nan" in str(report)
    assert dynpool.size_sensitivity(learned(), batches(2), lambda out, _: out.sum() * 0 + 1).rows[0].snr is None


def test_a_loss_without_gradient_gives_differences_alone():
    def errors(output, target):
        return (output.argmax(1) != target).float().mean().item()

    report = dynpool.size_sensitivity(learned(), batches(), errors)
    assert all(row.gradient is None for row in report.rows)
    assert report.verdict.startswith("there is no pair")


def test_under_no_grad_and_inference_mode_it_is_the_same():
    model, data = learned(), batches()
    expected = dynpool.size_sensitivity(model, data)
    with torch.no_grad():
        assert dynpool.size_sensitivity(model, data) == expected
    with torch.inference_mode():
        assert dynpool.size_sensitivity(model, [(x * 1, y * 1) for x, y in data]) == expected


def test_a_ceiling_limits_the_learner_and_not_the_measurement():
    free = learned(network=two_resizers, sizes={"1": (10, 12)})
    gmacs = dynpool.count_macs(free, SIZE).total / 1e9
    held = learned(network=two_resizers, sizes={"1": (10, 12)}, max_gmacs=gmacs * 1.0001)
    report = dynpool.size_sensitivity(held, batches())
    assert report == dynpool.size_sensitivity(free, batches())


HELD = nn.Sequential(dynpool.convert(two_resizers(), SIZE), nn.Identity())


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"batches": []}, ValueError, r"batches is empty"),
        ({"batches": 3}, TypeError, r"batches must be an iterable .*got int"),
        ({"batches": torch.zeros(3)}, TypeError, r"batches must be an iterable .*got Tensor"),
        ({"batches": [torch.zeros(1, 3, 20, 24)]}, TypeError, r"batches must give pairs .*got a tensor"),
        ({"batches": [("x", 1)]}, TypeError, r"batches must give inputs that are tensors .*got str"),
        ({"batches": [(torch.zeros(3, 20, 24), 1)]}, TypeError, r"got a tensor of shape \(3, 20, 24\)"),
        ({"batches": [*batches(1), *batches(1, size=(3, 20, 20))]}, ValueError, "batch 1 are 3x20x20, not 3x20x24"),
        ({"input_size": (3, 32, 32)}, ValueError, "batch 0 are 3x20x24, not 3x32x32"),
        ({"loss": lambda output, target: output}, TypeError, r"loss must return one number, got a Tensor of shape"),
        ({"loss": lambda output, target: "0.1"}, TypeError, r"loss must return one number, got a str '0.1'"),
        ({"model": nn.Conv2d(3, 4, 3)}, ValueError, "there is nothing to learn"),
        ({"model": HELD}, ValueError, r"neither converted nor frozen, but its child '0' is: pass that"),
        ({"model": nn.Sequential(dynpool.DynOPool2d())}, ValueError, "hand-placed resizers"),
        ({"steps": (1, 1)}, ValueError, r"steps must be different numbers of pixels above 0.*got \(1, 1\)"),
    ],
)
def test_wrong_arguments_are_said(arguments, error, said):
    with pytest.raises(error, match=said):
        dynpool.size_sensitivity(**{"model": learned(), "batches": batches(1), **arguments})


def test_wrappers_are_looked_through():
    model = learned()
    parallel = nn.DataParallel(model)
    assert dynpool.size_sensitivity(parallel, batches()).rows == dynpool.size_sensitivity(model, batches()).rows
