"""One run on a GPU that needs no one to watch it: compile, verify, integrate, measure, profile. See README.md."""
