"""One verb a file: each joins decisions and ports, and reads like the sentence in the docs.

Workflows receive `Services` and never see an adapter.
"""
