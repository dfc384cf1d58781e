"""A wrong argument of any public function raises an error that names it; integers of NumPy, lists and torch.Size do."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import dynpool
from dynpool import analysis, baselines

SIZE = (3, 16, 16)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1))


LEARNED = dynpool.convert(network(), SIZE)
MAP = torch.zeros(1, 3, 8, 8)
CLASSIFIER = nn.Sequential(network(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
LABELLED = [(torch.zeros(4, *SIZE), torch.arange(4) % 4)]

NO_MODEL: tuple[object, ...] = (None, "x", 3, nn.Conv2d, torch.zeros(1), [network()], network, {})
NO_FLAG = ("x", None, 3, math.nan, (), object())
NO_NUMBER = ("x", True, math.nan, (), object(), [1.0])
NO_RATE = (None, *NO_NUMBER, -1, math.inf)
NO_COUNT = (None, *NO_NUMBER, 0, -1, 0.5)
NO_NAME: tuple[object, ...] = (None, "x", 3, [], {})
NO_PATH = (None, 3, True, (), object())
NO_PAIR: tuple[object, ...]
NO_PAIR = (None, "x", b"x", True, math.nan, math.inf, -1, 0, (), (1, 2, 3), ("a", "b"), (math.nan, 1.0), (-1, -1), {},
           object(), nn.Conv2d, torch.zeros(3), 1j)  # fmt: skip
NO_SIZE: tuple[object, ...] = (*NO_PAIR, 4, 0.5, (4.0, 4), (True, 4), ["4", 4])
NO_THREE: tuple[object, ...]
NO_THREE = (None, "x", True, math.nan, -1, (), (1, 2), (1, 2, -3), (1, 2, "3"), (1, 2, math.nan), {}, object(), 1j)
NO_INPUT_SIZE: tuple[object, ...]
NO_INPUT_SIZE = (None, "333", 3, True, (), (3,), (3, 0, 16), (3, -1, 16), (3.0, 16, 16), (True, 16, 16), {}, object(),
                 torch.zeros(3), ("3", "16", "16"), (3, (16,), 16), (3, 16, 16, 16, 16))  # fmt: skip
NO_BATCHES: tuple[object, ...] = (None, 3, "x", torch.zeros(3), [], [3], [(1, 2, 3)], [("x", 1)], {}, object())
NO_SIZES = (None, "x", 3, [("1", (8, 8))], *({"1": no} for no in (8, "88", (8,), (8, 8, 8), (8.0, 8), (True, 8), None)),
            {"x": (8, 8)}, {1: (8, 8)}, {"1": (-8, 8)}, {"1": {8, 9}})  # fmt: skip

CHANNELS = {"in_channels": 3, "out_channels": 4}
NO_KERNEL: tuple[object, ...] = (
    None,
    "x",
    math.nan,
    0,
    -1,
    0.5,
    (),
    (1, 2, 3),
    (3, -1),
    (3, "3"),
    {},
    object(),
    2,
)  # the last one: even

Table = tuple[str, Callable[..., object], dict[str, Any], dict[str, Sequence[object]]]
TABLE: list[Table] = [
    ("convert", dynpool.convert, {"model": network(), "input_size": SIZE},
     {"model": NO_MODEL, "input_size": NO_INPUT_SIZE[1:], "order": NO_NAME, "preserve": NO_FLAG,
      "max_gmacs": NO_RATE[1:], "inputs": (3, "x", (), {}, object(), torch.zeros(4)), "batch": NO_COUNT[1:],
      "dtype": ("x", 3, float, object()),
      "pool": ("x", 3, nn.MaxPool2d, network(), lambda *a, **k: nn.ReLU(), dynpool.LearnedResizer2d,
               dynpool.DynOPool1d),
      "multiple_of": (*NO_COUNT, (1, 2, 3), ("a", 1), (0, 1), (True, 1))}),
    ("constrain", dynpool.constrain, {"model": LEARNED}, {"model": NO_MODEL, "trust": (*NO_NUMBER, 0, -1)}),
    ("conversion_report", dynpool.conversion_report, {}, {"model": NO_MODEL}),
    ("count_macs", dynpool.count_macs, {"model": network(), "input_size": SIZE},
     {"model": NO_MODEL, "input_size": NO_INPUT_SIZE}),
    ("freeze", dynpool.freeze, {}, {"model": NO_MODEL}),
    ("freeze_report", dynpool.freeze_report, {}, {"model": NO_MODEL}),
    ("load", dynpool.load, {"model": network(), "checkpoint": network().state_dict()},
     {"model": NO_MODEL, "checkpoint": NO_PATH, "prefix": NO_PATH, "conversion": ("x", 3, [], {"nothing": 1})}),
    ("save", dynpool.save, {"model": network(), "path": "x.pt"}, {"model": NO_MODEL, "path": NO_PATH}),
    ("parameter_groups", dynpool.parameter_groups, {"model": LEARNED},
     {"model": NO_MODEL, "lr": NO_RATE, "alpha_lr": NO_RATE, "weight_decay": NO_RATE}),
    ("register_kind", lambda kinds: dynpool.register_kind(kinds), {},
     {"kinds": (None, 3, nn.Tanh(), int, (), object())}),
    ("register_op", lambda names: dynpool.register_op(names), {},
     {"names": (None, 3, "", "blur", "mylib::nothing", "aten::convolution", object())}),
    ("register_macs", lambda names: dynpool.register_macs(names), {},
     {"names": (None, 3, "", "blur", "mylib::nothing", object())}),
    ("resolutions", dynpool.resolutions, {}, {"model": NO_MODEL}),
    ("set_sizes", dynpool.set_sizes, {"model": LEARNED, "sizes": {"1": (8, 8)}},
     {"model": NO_MODEL, "sizes": NO_SIZES}),
    ("sizes", dynpool.sizes, {"model": LEARNED, "input_size": SIZE}, {"model": NO_MODEL, "input_size": NO_INPUT_SIZE}),
    ("trace", dynpool.trace, {"model": network(), "input_size": SIZE},
     {"model": NO_MODEL, "input_size": NO_INPUT_SIZE, "inputs": ("x", 3, True, object(), (), {}, (3,)),
      "training": NO_FLAG, "every_window": NO_FLAG}),
    ("LatencyModel", dynpool.LatencyModel, {"model": LEARNED, "input_size": SIZE, "configurations": 4, "repeats": 1},
     {"model": NO_MODEL, "input_size": NO_INPUT_SIZE, "configurations": (*NO_COUNT, 3), "repeats": NO_COUNT,
      "batch": NO_COUNT[1:], "seed": (None, *NO_NUMBER, -1, 0.5), "device": ("x", "meta", object()),
      "inputs": (3, "x", ()), "measurements": (3, "x", [], {}, {"curves": 3}), "dtype": ("x", 3, object())}),
    ("GMACsLoss", dynpool.GMACsLoss, {"model": LEARNED, "input_size": SIZE},
     {"model": NO_MODEL, "input_size": NO_INPUT_SIZE}),
    ("DynOPool2d", dynpool.DynOPool2d, {}, {"alpha": NO_PAIR, "reduce": NO_NAME, "bounds": NO_PAIR,
                                            "tied_to": ("x", 3, nn.ReLU(), dynpool.DynOPool2d)}),
    ("DynOPool1d", dynpool.DynOPool1d, {}, {"alpha": NO_PAIR, "reduce": NO_NAME, "bounds": NO_PAIR,
                                            "tied_to": ("x", 3, nn.ReLU(), dynpool.DynOPool2d())}),
    ("DynOPool3d", dynpool.DynOPool3d, {}, {"alpha": NO_THREE, "reduce": NO_NAME, "bounds": NO_PAIR,
                                            "tied_to": ("x", 3, nn.ReLU(), dynpool.DynOPool2d())}),
    ("FixedPool2d", dynpool.FixedPool2d, {"size": (4, 4)}, {"size": NO_SIZE, "reduce": NO_NAME}),
    ("dynopool2d", dynpool.dynopool2d, {"x": MAP, "alpha": 2.0},
     {"x": (*NO_PAIR, np.zeros((1, 3, 8, 8))), "alpha": NO_PAIR, "reduce": NO_NAME, "size": NO_SIZE[1:]}),
    ("dynopool1d", dynpool.dynopool1d, {"x": MAP[0], "alpha": 2.0},
     {"x": (*NO_PAIR, np.zeros((1, 3, 8))), "alpha": NO_PAIR, "reduce": NO_NAME, "size": NO_PAIR[1:]}),
    ("dynopool3d", dynpool.dynopool3d, {"x": MAP[None], "alpha": 2.0},
     {"x": (*NO_PAIR, np.zeros((1, 3, 8, 8, 8))), "alpha": NO_THREE, "reduce": NO_NAME, "size": NO_THREE[1:]}),
    ("receptive_field", analysis.receptive_field, {"model": network(), "input_size": SIZE},
     {"model": NO_MODEL, "input_size": NO_INPUT_SIZE, "inputs": ("x", 3, True, object(), (), {}, (3,))}),
    ("effective_receptive_field", analysis.effective_receptive_field,
     {"model": network(), "input_size": SIZE, "samples": 1},
     {"model": NO_MODEL, "input_size": NO_INPUT_SIZE, "layer": (3, "x", True, (), object()), "samples": NO_COUNT,
      "images": ("x", 3, (), torch.zeros(3), np.zeros((1, *SIZE))), "seed": (None, *NO_NUMBER, 0.5)}),
    ("size_sensitivity", dynpool.size_sensitivity,
     {"model": LEARNED, "batches": [(torch.zeros(1, *SIZE), torch.zeros(1, 4, 8, 8))], "loss": nn.functional.mse_loss},
     {"model": NO_MODEL, "batches": (None, 3, "x", torch.zeros(3), [], [3], [(1, 2, 3)], [("x", 1)], {}, object()),
      "loss": (None, 3, "x", lambda output, target: None, lambda output, target: output),
      "steps": (None, 3, "x", (), (0,), (-1,), (1.0,), (True,), (1, 1), {1}), "training": NO_FLAG,
      "input_size": NO_INPUT_SIZE[1:], "progress": (3, "x", ())}),
    ("inspect", analysis.inspect, {"model": CLASSIFIER, "train_batches": LABELLED, "test_batches": LABELLED},
     {"model": NO_MODEL, "input_size": NO_INPUT_SIZE[1:], "layers": (3, "x", (), ["x"], [3], {"1": 2}),
      "heatmaps": (3, "x", None, ["x"], [3]), "probes": NO_FLAG, "saturation": NO_FLAG, "threshold": (*NO_RATE, 0, 1),
      "tolerance": NO_RATE, "low": (*NO_RATE, 2), "grid": NO_COUNT, "iterations": NO_COUNT, "memory": NO_COUNT,
      "seed": (None, *NO_NUMBER, 0.5, -1), "progress": (3, "x", ()), "tell": (3, "x", ()),
      "train_batches": (None, 3, "x", torch.zeros(3), [], [3], [(1, 2, 3)], [("x", 1)], object()),
      "test_batches": (None, 3, "x", torch.zeros(3), [], [3], [(1, 2, 3)], [("x", 1)], object())}),
    ("IMinTracker", analysis.IMinTracker, {"model": LEARNED, "input_size": SIZE, "path": "i_min.jsonl"},
     {"model": NO_MODEL, "input_size": NO_INPUT_SIZE, "path": NO_PATH}),
    ("cka", analysis.cka, {"model_a": network(), "model_b": network(), "batches": [torch.zeros(4, *SIZE)]},
     {"model_a": NO_MODEL, "model_b": NO_MODEL, "batches": NO_BATCHES, "layers": ("x", 3, [], ["x"], [3]),
      "layers_b": ("x", 3, [], ["x"], [3]), "pooled": NO_FLAG, "unbiased": NO_FLAG, "most_bytes": NO_COUNT,
      "progress": (3, "x", ())}),
    ("hessian_eigenvalues", analysis.hessian_eigenvalues,
     {"model": network(), "batches": [(torch.zeros(1, *SIZE), torch.zeros(1, 4, 8, 8))], "k": 2,
      "loss": nn.functional.mse_loss},
     {"model": NO_MODEL, "batches": (*NO_BATCHES, torch.zeros(3), [MAP]), "k": (*NO_COUNT, 10**9),
      "loss": (None, 3, "x", lambda output, target: None, lambda output, target: output), "which": NO_NAME,
      "tol": (*NO_RATE, 0), "seed": (None, *NO_NUMBER, -1, 0.5), "progress": (3, "x", ())}),
    ("prune_globally", analysis.prune_globally, {"model": network(), "amount": 0.5},
     {"model": (*NO_MODEL, nn.ReLU()), "amount": (*NO_RATE, 1)}),
    ("pruning_curve", analysis.pruning_curve,
     {"model": network(), "amounts": [0.5], "evaluate": lambda model: 0.0},
     {"model": (*NO_MODEL, nn.ReLU()), "amounts": (None, "x", 3, [], 0.5, [1], [-1], ["x"], [True], [math.nan]),
      "evaluate": (None, 3, "x", lambda model: None), "fine_tune": (3, "x"), "progress": (3, "x", ())}),
    ("compare_runs", analysis.compare_runs, {}, {"run_folders": (*NO_PATH, "x", [3], [None], {})}),
    ("write_report", analysis.write_report, {"run_folders": [], "out": "."},
     {"run_folders": (*NO_PATH, "x", [3], [None], {}), "out": NO_PATH}),
    ("DiffStride2d", baselines.DiffStride2d, {},
     {"alpha": NO_PAIR, "smoothness": NO_RATE, "shared": NO_FLAG, "symmetric": NO_FLAG, "cropping": NO_FLAG,
      "norm": NO_NAME, "bounds": NO_PAIR, "tied_to": ("x", nn.ReLU(), baselines.DiffStride2d)}),
    ("FixedDiffStride2d", baselines.FixedDiffStride2d, {"stride": (2.0, 2.0), "size": (4, 4)},
     {"stride": NO_PAIR, "size": NO_SIZE, "smoothness": NO_RATE, "symmetric": NO_FLAG, "norm": NO_NAME}),
    ("FixedShapeAdaptor2d", baselines.FixedShapeAdaptor2d, {"size": (4, 4), "weight": 0.5},
     {"size": NO_SIZE, "weight": (*NO_RATE, 2), "kernel": NO_SIZE, "reduce": NO_NAME, "residual": NO_FLAG,
      "align_corners": NO_FLAG}),
    ("FixedSpectralPooling2d", baselines.FixedSpectralPooling2d, {}, {"stride": (*NO_PAIR, 0.5), "norm": NO_NAME}),
    ("ShapeAdaptor2d", baselines.ShapeAdaptor2d, {},
     {"strides": NO_PAIR, "alpha": (None, *NO_NUMBER[:-1], 13), "reduce": NO_NAME, "bookkeeping": NO_NAME,
      "limit": (*NO_NUMBER, 0, -1), "residual": NO_FLAG, "align_corners": NO_FLAG, "bounds": NO_PAIR,
      "tied_to": ("x", nn.ReLU(), baselines.ShapeAdaptor2d)}),
    ("alpha_optimizer", baselines.alpha_optimizer, {"model": LEARNED},
     {"model": NO_MODEL, "lr": NO_RATE, "momentum": (*NO_RATE, 1), "every": NO_COUNT}),
    ("EveryFewSteps", baselines.EveryFewSteps, {"optimizer": torch.optim.SGD(network().parameters(), lr=1.0)},
     {"optimizer": (None, "x", torch.optim.SGD, network()), "every": NO_COUNT}),
    ("diffstride2d", baselines.diffstride2d, {"x": MAP, "stride": 2.0},
     {"x": (*NO_PAIR, np.zeros((1, 3, 8, 8))), "stride": NO_PAIR, "smoothness": NO_RATE, "symmetric": NO_FLAG,
      "cropping": NO_FLAG, "norm": NO_NAME, "size": NO_SIZE[1:]}),
    ("initial_alpha", baselines.initial_alpha, {"size_in": 32, "size_out": 8, "adaptors": 4},
     {"size_in": NO_COUNT, "size_out": NO_COUNT, "adaptors": NO_COUNT, "ratios": (*NO_PAIR, (1.0, 0.5))}),
    ("refine", baselines.refine, {"model": network(), "input_size": SIZE},
     {"model": NO_MODEL, "input_size": NO_INPUT_SIZE, "way": NO_NAME[1:], "edits": NO_NAME[1:]}),
    ("shape_adaptor2d", baselines.shape_adaptor2d, {"down": MAP, "keep": MAP, "weight": 0.5, "size": (6, 6)},
     {"down": (None, "x", torch.zeros(3)), "keep": (None, "x", MAP[:, :2]), "weight": (*NO_RATE, 2), "size": NO_SIZE,
      "residual": NO_FLAG, "align_corners": NO_FLAG}),
    ("shape_adaptor_network", baselines.shape_adaptor_network, {"model": network(), "input_size": SIZE},
     {"model": NO_MODEL, "input_size": NO_INPUT_SIZE, "mode": NO_NAME, "adaptors": NO_COUNT[1:], "last_size": NO_COUNT,
      "limit": (*NO_NUMBER, 0, -1), "parity": NO_FLAG, "align_corners": NO_FLAG}),
    ("FlexConv2d", baselines.FlexConv2d, CHANNELS,
     {"in_channels": NO_COUNT, "out_channels": NO_COUNT, "kernel_size": NO_KERNEL, "stride": NO_KERNEL[:-1],
      "dilation": (2, "x", None), "groups": NO_COUNT, "bias": NO_FLAG, "largest": (*NO_KERNEL, 1), "sigma": NO_PAIR,
      "threshold": (*NO_RATE, 0, 1), "hidden": NO_COUNT, "filters": NO_COUNT, "scale": (*NO_RATE, 0), "learn": NO_FLAG,
      "evaluation": NO_NAME, "published": NO_FLAG}),
    ("flexconv_network", baselines.flexconv_network, {"model": network(), "input_size": SIZE},
     {"model": NO_MODEL, "input_size": NO_INPUT_SIZE, "largest": (*NO_KERNEL[1:], 1), "sigma": NO_PAIR[1:],
      "threshold": (*NO_RATE, 0, 1), "hidden": NO_COUNT, "filters": NO_COUNT, "scale": (*NO_RATE, 0), "learn": NO_FLAG,
      "evaluation": NO_NAME, "published": NO_FLAG}),
    ("antialiasing_loss", baselines.antialiasing_loss, {"model": baselines.FlexConv2d(1, 1)},
     {"model": NO_MODEL, "weight": (*NO_RATE, 0), "mask": NO_FLAG, "sigma_cut": (*NO_RATE, 0), "published": NO_FLAG}),
    ("NJetConv2d", baselines.NJetConv2d, CHANNELS,
     {"in_channels": NO_COUNT, "out_channels": NO_COUNT, "kernel_size": NO_KERNEL, "stride": NO_KERNEL[:-1],
      "dilation": (2, "x", None), "groups": NO_COUNT, "bias": NO_FLAG, "order": (*NO_NUMBER, -1, 0.5),
      "sigma": (*NO_RATE, 0), "sigmas": NO_COUNT, "truncate": (*NO_RATE, 0), "learn": NO_FLAG, "gain": (*NO_RATE, 0),
      "subsample": (*NO_RATE[1:], 0), "published": NO_FLAG}),
    ("njet_network", baselines.njet_network, {"model": network(), "input_size": SIZE},
     {"model": NO_MODEL, "input_size": NO_INPUT_SIZE, "order": (*NO_NUMBER, -1, 0.5), "sigma": (*NO_RATE, 0),
      "sigmas": NO_COUNT, "truncate": (*NO_RATE, 0), "learn": NO_FLAG, "subsample": (*NO_RATE[1:], 0),
      "published": NO_FLAG}),
    ("njet_kernel", baselines.njet_kernel,
     {"coefficients": torch.zeros(2, 3, 3), "sigma": torch.ones(1), "order": 1},
     {"coefficients": (None, "x", 3, torch.zeros(2, 3), torch.zeros(2, 3, 4), [1.0]),
      "sigma": (None, "x", 3, torch.zeros(1), torch.ones(0), torch.ones(3), torch.tensor([math.inf]), [1.0]),
      "order": (*NO_NUMBER, -1, 0.5), "truncate": (*NO_RATE, 0), "radius": (*NO_NUMBER, -1, 0.5)}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "call", "right", "wrong"), TABLE, ids=[row[0] for row in TABLE])
def test_the_error_names_the_argument(
    name: str, call: Callable[..., object], right: dict[str, Any], wrong: dict[str, Sequence[object]]
) -> None:
    for argument, values in wrong.items():
        for value in values:
            with pytest.raises((TypeError, ValueError)) as error:
                call(**{**right, argument: value})
            assert re.search(rf"\b{argument}\b", str(error.value)), (name, argument, value)


def test_the_table_has_every_public_function_with_arguments() -> None:
    public = [name for package in (dynpool, analysis, baselines) for name in package.__all__]
    data = set(  # classes that the library fills in itself, or that are made by subclassing
        "Chain Comparison ConversionReport Edit EffectiveField FreezeReport Graph LearnedKernelConv2d LearnedResizer "
        "LearnedResizer2d "
        "MacsReport "
        "NothingToLearnError Plan TraceError InspectionReport "
        "NothingToLearnError Plan TraceError "
        "CKAReport HessianSpectrum PruningReport PruningRow "
        "PublishedEdit RefinementPlan Resolution SensitivityReport SensitivityRow Site DynOPool published_edits".split()
    )
    assert {row[0] for row in TABLE} >= set(public) - data


def test_integers_of_numpy_lists_and_torch_size_do() -> None:
    one: Any = np.float32(1)
    flag: Any = np.True_
    h, w = np.array([6, 5])
    input_sizes: list[Any] = [[np.int64(3), np.int32(16), np.uint8(16)], list(SIZE), torch.Size(SIZE)]
    for size in input_sizes:
        learned = dynpool.convert(network(), size, preserve=flag, multiple_of=h // h, max_gmacs=one)
        dynpool.set_sizes(learned, {"1": (h, w)})
        assert dynpool.sizes(learned, size) == {"input": (16, 16), "1": (6, 5)}
        assert dynpool.count_macs(learned, size).input_size == SIZE
        assert analysis.receptive_field(learned, size).input_size == SIZE
    wanted = dynpool.dynopool2d(MAP, 2.0, size=(6, 5))
    pairs: list[Any] = [[6, 5], torch.Size((6, 5)), (h, w), [h, w]]
    for pair in pairs:
        assert torch.equal(dynpool.dynopool2d(MAP, 2.0, size=pair), wanted)
        assert dynpool.FixedPool2d(pair)(MAP).shape == wanted.shape
        assert baselines.FixedDiffStride2d(2 * one, pair)(MAP).shape == wanted.shape
        assert baselines.shape_adaptor2d(MAP, MAP, one, pair).shape == wanted.shape
    numbers: list[Any] = [np.float32(2), np.float64(2), np.int64(2), torch.tensor(2.0), [np.float32(2), 2]]
    for alpha in numbers:
        assert list(dynpool.DynOPool2d(alpha).shared_alpha()) == [2, 2]
        assert dynpool.dynopool2d(MAP, alpha).shape == (1, 3, 4, 4)
    rate: Any = torch.tensor(0.5)
    assert dynpool.parameter_groups(LEARNED, lr=one, alpha_lr=rate)[0]["lr"] == 1
