"""What all of the analysis uses: styles, units, names, files that are whole or absent."""
