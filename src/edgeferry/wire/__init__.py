"""Exact bytes, in both directions. Pure: no I/O; each module names the document it follows."""
