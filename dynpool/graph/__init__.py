"""One traced pass of a model: what ran, with shapes, module paths and the sizes that must agree."""

from .axes import Resize
from .errors import TraceError
from .forward_pass import RETURNS, Choose
from .inputs import InputSize, check_input_size
from .ir import Graph
from .record import Node, Primitive, Shape, Shapes, Value
from .survey import Survey
from .tracer import trace, trace_shapes
from .untouched import deep_copy

__all__ = [
    "RETURNS", "Choose", "Graph", "InputSize", "Node", "Primitive", "Resize", "Shape", "Shapes", "Survey", "TraceError",
    "Value", "check_input_size", "deep_copy", "trace", "trace_shapes",
]  # fmt: skip
