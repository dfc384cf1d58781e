"""Several training runs compared: figures, findings and a page."""
