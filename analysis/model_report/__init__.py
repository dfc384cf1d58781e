"""One model shown: its receptive fields as text, files and pictures."""
