"""Reports of `cka` for tests of text and plots."""

from dynpool.analysis.representations import CKAReport


def cka_report(values=((0.9, 0.5), (0.25, 0.75)), layers_a=("conv1", "conv2"), layers_b=("conv1", "conv2"), **options):
    """A report with some values."""
    known = {
        "model_a": "Net", "model_b": "Net", "input_size": (3, 8, 8), "images": 96, "batches": 3, "pooled": True,
        "unbiased": False, "border_layer_a": None, "border_layer_b": None, "border_a": None, "border_b": None,
        "memory": 100, "notices": (),
    }  # fmt: skip
    return CKAReport(**{**known, "layers_a": layers_a, "layers_b": layers_b, "values": values, **options})
