"""What the model server costs beside the servers that one would use instead, and beside what is possible."""
