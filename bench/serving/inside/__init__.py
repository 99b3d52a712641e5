"""Scripts that run in the environments of the servers that are measured; they import nothing of ours."""
