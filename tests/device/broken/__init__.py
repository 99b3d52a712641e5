"""Model images that are broken in one way each, served as an image would be."""
