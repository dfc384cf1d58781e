"""One traced pass of a model: what ran, with shapes, module paths and the sizes that must agree."""
