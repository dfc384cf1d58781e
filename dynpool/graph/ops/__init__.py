"""What operations are: each ATen operation described once by a primitive, and `register_op` for others."""
