"""How fast a local hub is and what it costs, beside what the same machine can do at best."""
