"""The report of one model: its receptive fields as text, files and plots."""
