"""The nyc_taxi model: the steps that are its own, files in, files out. Knows no cloud."""
