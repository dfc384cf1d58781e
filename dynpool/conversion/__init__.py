"""From a model to one with learned sizes, and from that to one with fixed sizes."""
