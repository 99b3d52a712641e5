"""What an agent says of itself before it has looked at its container."""

from pathlib import Path

import pytest

from edgeferry.device.agent import Agent
from edgeferry.device.state import Enrolment, Store
from edgeferry.domain.manifest import DeviceManifest, ModuleSpec
from edgeferry.wire.connection import ConnectionString

IMAGE = "r/agent@sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("mark", "image"),
    [
        pytest.param("m", "", id="a container: not known yet"),
        pytest.param("", IMAGE, id="a program: what is desired"),
    ],
)
def test_the_image_of_a_container_is_told_once_it_is_known(tmp_path: Path, mark: str, image: str) -> None:
    connection = ConnectionString("hub", "a2V5", device_id="d")
    enrolment = Enrolment(connection, "d", None, "hub", "", (), "unix:///none", "t")
    agent = Agent(enrolment, Store(tmp_path), mark=mark)
    manifest = DeviceManifest({}, system_modules={"edgeAgent": ModuleSpec("edgeAgent", IMAGE)})
    told = agent._reporting.system_states(manifest)["edgeAgent"]
    assert (told.spec.image, told.image_hash, told.runtime_status) == (image, "", "running")
