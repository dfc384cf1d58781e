"""What every package may use: checks of arguments, names that were mistyped, imports on first use."""
