"""Running a model on meta tensors, which have a shape but no data."""
