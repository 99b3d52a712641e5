"""What a device's agent costs, and what clients of its modules notice while it changes them."""
