"""The digits model: one module per pipeline step, files in, files out. Knows no cloud."""
