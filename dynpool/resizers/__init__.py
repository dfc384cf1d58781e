"""The operator and the modules that resize to learned sizes, independent of any model."""
