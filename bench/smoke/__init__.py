"""Whether the smoke test can fail, and whether it fails only then."""
