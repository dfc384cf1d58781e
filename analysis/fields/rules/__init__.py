"""What each ATen operation does to receptive fields."""
