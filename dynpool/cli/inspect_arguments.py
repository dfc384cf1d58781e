"""The options of dynpool inspect."""

import argparse
import re

from .arguments import Parser, count, input_size, place

__all__ = ["parser"]


def _share(text: str) -> float:
    if re.fullmatch(r"0?\.\d+", text) and 0 < float(text) < 1:
        return float(text)
    raise argparse.ArgumentTypeError(f"{text!r}; allowed: a number above 0 and below 1")


def _epochs(text: str) -> int:
    if re.fullmatch(r"\d+", text):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r}; allowed: a whole number, 0 or more")


def parser() -> Parser:
    """The parser of the command."""
    found = Parser(
        "inspect",
        "Which layers of trained networks work: probes and saturation beside receptive fields, layer by layer. Of "
        "runs, or of a model and a folder of images: dynpool inspect --checkpoint FILE MODEL DATA_FOLDER.",
    )
    add = found.add_argument
    add("runs", nargs="*", type=place, metavar="RUN", help="folder of a run or of a comparison")
    _add_parts(found)
    _add_settings(found)
    add("--checkpoint", type=place, metavar="FILE", help="weights of MODEL, a name as for dynpool analyze")
    add(
        "--input-size",
        type=input_size,
        metavar="SIZE",
        help="with --checkpoint: 32, or 1,28,28 (channels, height, width)",
    )
    add("--prefix", metavar="PREFIX", help='with --checkpoint: prefix of all names in it, such as "model."')
    add(
        "--normalise", choices=("folder", "imagenet"),
        help="with --checkpoint: moments that images are normalised by; default: those of the folder's training images",
    )  # fmt: skip
    add(
        "--out", type=place, metavar="FOLDER",
        help="folder of the page; default: inspection in the only folder given, or in the one that all lie in, or "
        "inspection-MODEL. Each run's own figures are kept in RUN/inspection",
    )  # fmt: skip
    return found


def _add_parts(found: Parser) -> None:
    add = found.add_argument
    add("--probes", action="store_true", help="of these two only the named ones; default: both")
    add("--saturation", action="store_true", help="likewise; what follows comes in addition")
    add(
        "--heatmaps", nargs="+", default=[], metavar="LAYER",
        help="layers that get a probe at each position of their map",
    )  # fmt: skip
    add("--pruning", action="store_true", help="accuracy after global magnitude pruning, and after fine-tuning")
    add("--hessian", action="store_true", help="largest eigenvalues of the loss's Hessian, before and after training")
    add("--cka", action="store_true", help="similarity of all layers between the first two seeds of each method")


def _add_settings(found: Parser) -> None:
    add = found.add_argument
    add("--layers", nargs="+", metavar="LAYER", help="layers to look at; default: all convolutions and linear layers")
    add("--images", type=count, metavar="N", help="training and held-out images at most; default: all")
    add(
        "--tolerance", type=_share, default=0.01, metavar="SHARE",
        help="of the tail: layers whose relative accuracy stays within this of the last layer's; default: 0.01",
    )  # fmt: skip
    add(
        "--threshold", type=_share, default=0.99, metavar="SHARE",
        help="variance that saturation explains; default: 0.99",
    )  # fmt: skip
    add("--iterations", type=count, default=1000, metavar="N", help="of a probe's solver at most; default: 1000")
    add("--memory", type=count, default=2048, metavar="MIB", help="for activations at most; default: 2048")
    add(
        "--amounts", type=_share, nargs="+", default=[0.5, 0.6, 0.7, 0.8, 0.9], metavar="SHARE",
        help="shares of the weights that --pruning removes; default: 0.5 0.6 0.7 0.8 0.9",
    )  # fmt: skip
    add(
        "--fine-tune", type=_epochs, default=1, metavar="EPOCHS",
        help="epochs of fine-tuning with the mask kept, by the run's own settings; default: 1, 0 for none",
    )  # fmt: skip
    add("--eigenvalues", type=count, default=90, metavar="K", help="that --hessian finds; default: 90")
    add(
        "--hessian-images", type=count, default=256, metavar="N",
        help="training images of the loss whose Hessian it is, at most; default: 256",
    )  # fmt: skip
    add("--workers", type=count, metavar="N", help="processes; default: one per core, or one if there is a GPU")
