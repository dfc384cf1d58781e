"""The operator and the modules that resize to learned sizes; they know no models."""
