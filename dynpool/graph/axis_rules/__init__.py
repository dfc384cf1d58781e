"""The rule of each ATen operation for axes: which must agree, which are fixed, what it costs."""
