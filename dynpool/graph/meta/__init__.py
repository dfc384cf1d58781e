"""Running a model without data: on tensors that have a shape and no contents."""
