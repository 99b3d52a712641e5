"""Every command, and the only place that prints. Decides nothing."""
