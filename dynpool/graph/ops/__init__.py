"""The primitive of each ATen operation, and `register_op` for other operations."""
