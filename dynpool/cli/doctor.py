"""dynpool doctor: what is installed, on which devices the operator works, and what is missing for what."""

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any

import dynpool
from dynpool.common.cores import usable_cores
from dynpool.common.extras import EXTRAS

from .arguments import Parser
from .output import Output

__all__ = ["NEEDED_BY", "doctor", "parser"]

FAILED = 1  # the exit code

NEEDED_BY = MappingProxyType(  # what each extra is for, besides those that contain it
    {
        "completion": "dynpool completion",
        "inspect": "dynpool inspect --hessian; dynpool.analysis.hessian_eigenvalues",
        "keras": "dynpool.analysis.integrations.keras",
        "lightning": "the callbacks of dynpool.analysis.integrations.lightning and .pytorch_lightning",
        "pandas": "to_frame() of the tables of dynpool.analysis.receptive_field",
        "plots": "plot() of all reports, dynpool.analysis.inspect and compare_runs; dynpool analyze, report",
        "ray": "dynpool compare --executor ray",
        "timm": "models by name; dynpool coverage",
        "train": "dynpool train, compare, inspect and sensitivity; dynpool.analysis.inspect",
        "transformers": "the callback of dynpool.analysis.integrations.transformers",
    }
)


def parser() -> Parser:
    """The parser of the command's options."""
    return Parser(
        "doctor",
        "Versions, devices, Triton, what is missing for which command or function, and a self-test of the operator, in "
        "seconds: its results and gradients beside a composition of PyTorch's own functions. If it fails the exit code "
        "is 1.",
    )


def doctor(arguments: Sequence[str], output: Output) -> int:
    """Run the command and return its exit code, which is 1 if the operator's self-test fails.

    Raises:
        ConfigError: for errors that the user can correct.
    """
    parser().read(arguments)
    import torch

    from .self_test import self_test

    found = _devices()
    triton = _triton()
    extras = _extras()
    output.text(f"dynpool {dynpool.__version__}, Python {platform.python_version()}, {platform.platform()}")
    output.text(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads; {triton}")
    for name, said in found.items():
        output.text(f"  {name:<8}{said}")
    output.text("\noperator, relative to float64:    output  gradient     alpha")
    checks = []
    for check in self_test([torch.device(name) for name in found]):
        checks.append(check)
        errors = (check.output, check.gradient, check.alpha_gradient)
        figures = check.error or "  ".join("-" if e is None else f"{e:8.1e}" for e in errors)
        where = f"{check.device:<8}{check.dtype:<10}{check.layout}"
        output.text(f"  {where:<32}{figures}  {'ok' if check.passed else 'FAILED'}")
    output.text("\nextras")
    for name, extra in extras.items():
        have = ", ".join(f"{package} {number}" for package, number in extra["installed"].items())
        missing = ", ".join(extra["missing"])
        said = f"{missing} missing: pip install 'dynpool[{name}]' for {extra['needed_by']}" if missing else have
        output.text(f"  {name:<14}{said}")
    passed = all(check.passed for check in checks)
    verdict = _verdict([check.device for check in checks if not check.passed], [*found])
    output.text(f"\n{verdict}")
    output.document(
        lambda: {
            "dynpool": dynpool.__version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "torch": str(torch.__version__),
            "threads": torch.get_num_threads(),
            "triton": triton,
            "devices": found,
            "checks": [check.to_dict() for check in checks],
            "extras": extras,
            "passed": passed,
            "verdict": verdict,
        }
    )
    return 0 if passed else FAILED


def _devices() -> dict[str, str]:
    """{name: description} of the CPU and of all GPUs that PyTorch can use."""
    import torch

    from dynpool.resizers import native_problem

    cores = usable_cores()
    why = native_problem()
    how = "kernels in C, except for float64" if why is None else f"plain PyTorch, which is slower, as {why}"
    found = {"cpu": f"{cores} core{'s' * (cores != 1)}, {platform.machine()}: {how}"}
    for index in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(index)
        kind = f"compute capability {gpu.major}.{gpu.minor}" if torch.version.hip is None else gpu.gcnArchName
        found[f"cuda:{index}"] = f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB, {kind}"
    return found


def _triton() -> str:
    """Whether maps on GPUs are pooled by the Triton kernels."""
    import torch

    from dynpool.resizers import triton_problem

    if not torch.cuda.is_available():
        installed = f"Triton {_version('triton')}" if find_spec("triton") else "Triton is not installed"
        return f"{installed}, not needed as there is no GPU"
    why = triton_problem()
    if why is None:
        return f"Triton {_version('triton')}, whose kernels are used on GPUs"
    return f"Triton cannot be used ({' '.join(why.split())}): the operator is plain PyTorch on GPUs, which is slower"


def _extras() -> dict[str, dict[str, Any]]:
    """{extra: {"installed": {package: version}, "missing": [package], "needed_by": commands and functions}}."""
    names = packages_distributions()
    found: dict[str, dict[str, Any]] = {
        extra: {"installed": {}, "missing": [], "needed_by": said} for extra, said in NEEDED_BY.items()
    }
    for package, extra in sorted(EXTRAS.items()):
        if find_spec(package) is None:
            found[extra]["missing"].append(package)
        else:
            found[extra]["installed"][package] = _version(next(iter(names.get(package, [package]))))
    return found


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:  # imported from a folder without its metadata
        return "of unknown version"


def _verdict(failed: Sequence[str], devices: Sequence[str]) -> str:
    if failed:
        where = ", ".join(dict.fromkeys(failed))
        return f"the operator's self-test failed on {where}: please report it with this output"
    return f"the operator works on {', '.join(devices)}"
