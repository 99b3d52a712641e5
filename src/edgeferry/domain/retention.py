"""Which images a device keeps: what each module runs, and what it ran before. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Set

KEPT = 2
"""The current image of a module, and the previous one: what a rollback needs without a pull."""

History = Mapping[str, tuple[str, ...]]
"""Each module's images, the latest first."""


def remember(history: History, current: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The history after `current` (module to image) has been made so. A module that is gone keeps its latest
    image, so that it comes back without a pull."""
    fresh = {module: images[:1] for module, images in history.items() if module not in current}
    for module, image in current.items():
        before = tuple(other for other in history.get(module, ()) if other != image)
        fresh[module] = (image, *before)[:KEPT]
    return fresh


def choose_unneeded(pulled: Set[str], history: History) -> list[str]:
    """The images this device pulled that no module of it runs or ran last, sorted."""
    needed = {image for images in history.values() for image in images}
    return sorted(pulled - needed)
