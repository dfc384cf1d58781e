"""One traced pass of a model: what ran, with shapes, module paths and the sizes that must agree."""

from .axes import Resize
from .errors import TraceError
from .forward_pass import RETURNS, Choose
from .inputs import InputSize, check_input_size, make_inputs
from .ir import Graph
from .meta.aliasing import PLAIN
from .pass_options import PassOptions, described, keep_options, options_from, prepared
from .record import Node, Primitive, Shape, Shapes, Value
from .sizes import propagate
from .smooth import Smooth
from .snapshot import deep_copy, untouched
from .survey import Survey
from .tracer import trace, trace_shapes

__all__ = [
    "PLAIN", "RETURNS", "Choose", "Graph", "InputSize", "Node", "PassOptions", "Primitive", "Resize", "Shape", "Shapes",
    "Smooth", "Survey", "TraceError", "Value", "check_input_size", "deep_copy", "described", "keep_options",
    "make_inputs", "options_from", "prepared", "propagate", "trace", "trace_shapes", "untouched",
]  # fmt: skip
