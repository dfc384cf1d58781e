"""Pictures of one model's receptive fields."""
