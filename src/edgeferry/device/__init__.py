"""The program on a device: an agent that keeps the device's modules as the hub desires them.

Law: a small program of its own. It sees `settings`, `engine`, `wire`, `domain` and `errors` only, holds no
credential but the device's, and reports nothing better than it is. `modules` are the programs inside images.
"""
