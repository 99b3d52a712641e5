"""A hub, a registry and devices on this machine, as processes. Talks to them by address only."""
