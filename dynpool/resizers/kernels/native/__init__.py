"""The operator in C, compiled where it is first needed, and how it is called."""
