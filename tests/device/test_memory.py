"""What the agent remembers of images and events, on a disk that takes it and on one that does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeferry.device.images import Images
from edgeferry.device.memory import Memory
from edgeferry.device.state import Store
from edgeferry.domain.device_state import Applied, Crashed
from edgeferry.domain.manifest import ModuleSpec
from edgeferry.engine import Engine
from tests.device.disks import refusing_writes, tiny_disk

NOWHERE = Engine("unix:///nowhere.sock")


def test_an_image_is_the_devices_to_remove_before_its_pull_begins(tmp_path: Path) -> None:
    Images(NOWHERE, Store(tmp_path)).note_pulling("r/a:1")
    assert Store(tmp_path).load_images()[0] == {"r/a:1"}


def test_a_pull_that_cannot_be_noted_must_not_begin_and_is_noted_later(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk") as folder:
        images = Images(NOWHERE, Store(folder))
        with refusing_writes(folder), pytest.raises(OSError, match="Read-only"):
            images.note_pulling("r/a:1")
        images.note_pulling("r/a:1")
        assert Store(folder).load_images()[0] == {"r/a:1"}


def test_images_settle_also_where_that_cannot_be_written_down(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk") as folder:
        images = Images(NOWHERE, Store(folder))
        with refusing_writes(folder):
            images.settle({"a": "r/a:1"}, set())
        images.settle({"a": "r/a:2"}, set())
        assert Store(folder).load_images()[1] == {"a": ("r/a:2", "r/a:1")}


def test_what_is_told_is_known_to_this_agent_though_the_disk_does_not_take_it(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk") as folder:
        memory = Memory(Store(folder))
        spec = ModuleSpec("a", "r/a:1")
        memory.note(Applied("h", ("layer",), 3, {"a": spec}, (), "2026-01-01T00:00:00Z"))
        with refusing_writes(folder):
            memory.tell(Crashed("h", "a", "then"))
            with pytest.raises(OSError, match="Read-only"):
                memory.note(Crashed("h", "a", "later"))
        assert memory.state.trials["h"].crashes == {"a": ("then",)}
        memory.tell(Crashed("h", "a", "last"))
        assert Memory(Store(folder)).state.trials["h"].crashes == {"a": ("last",)}
