"""The base layer, made for real from Debian packages."""

from __future__ import annotations

import shutil
import stat
import tarfile
from pathlib import Path

import pytest

from edgeferry.adapters.base import DebianBase
from edgeferry.adapters.layers import LayerStore
from edgeferry.domain.image import Layer
from edgeferry.errors import OutsideError
from tests.needs import lack

MIRROR = "http://deb.debian.org"


@pytest.fixture(scope="module", autouse=True)
def mmdebstrap() -> None:
    if not shutil.which("mmdebstrap"):
        lack("no mmdebstrap is installed")


@pytest.fixture(scope="module")
def layer(store: LayerStore) -> Layer:
    return DebianBase(store, MIRROR, print).layer("amd64")


@pytest.fixture(scope="module")
def entries(layer: Layer) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(layer.path) as tar:
        return {member.name: member for member in tar}


def test_it_is_small(layer: Layer) -> None:
    assert layer.size_bytes < 22_000_000


def test_it_holds_python_and_what_packages_scripts_would_have_written(
    layer: Layer, entries: dict[str, tarfile.TarInfo]
) -> None:
    assert entries["usr/bin/python3"].linkname == "python3.11"
    with tarfile.open(layer.path) as tar:
        users = tar.extractfile("etc/passwd")
        bundle = tar.extractfile("etc/ssl/certs/ca-certificates.crt")
        assert users is not None
        assert bundle is not None
        assert b"edgeferry:x:65532:65532:" in users.read()
        assert bundle.read().count(b"BEGIN CERTIFICATE") > 100


def test_it_names_its_packages_for_scanners(entries: dict[str, tarfile.TarInfo]) -> None:
    recorded = {name.rpartition("/")[2] for name in entries if name.startswith("var/lib/dpkg/status.d/")}
    assert {"python3.11-minimal", "libssl3", "tzdata", "ca-certificates"} <= recorded


def test_nothing_of_the_building_machine_is_inside(entries: dict[str, tarfile.TarInfo]) -> None:
    assert not {"etc/hostname", "etc/resolv.conf", "etc/hosts", "etc/machine-id"} & set(entries)


def test_it_has_no_shell_no_package_tool_and_nothing_that_runs_as_root(
    entries: dict[str, tarfile.TarInfo],
) -> None:
    assert not {f"usr/bin/{name}" for name in ("sh", "dash", "bash", "dpkg", "apt", "tar", "perl")} & set(
        entries
    )
    files = [entry for entry in entries.values() if entry.isfile()]
    assert not [entry.name for entry in files if entry.mode & (stat.S_ISUID | stat.S_ISGID)]


def test_licences_stay_and_other_documentation_goes(entries: dict[str, tarfile.TarInfo]) -> None:
    documents = [
        name for name, entry in entries.items() if name.startswith("usr/share/doc/") and entry.isfile()
    ]
    assert "usr/share/doc/libssl3/copyright" in documents
    assert not [name for name in documents if not name.endswith("/copyright")]


def test_it_has_the_same_digest_when_it_is_made_again_elsewhere(tmp_path: Path) -> None:
    said: list[str] = []
    one = DebianBase(LayerStore(tmp_path / "one"), MIRROR, said.append).layer("amd64")
    other = DebianBase(LayerStore(tmp_path / "other"), MIRROR, said.append).layer("amd64")
    assert one.digest == other.digest
    assert len(said) == 2


def test_a_mirror_that_does_not_answer_is_said_so_and_nothing_is_kept(tmp_path: Path) -> None:
    base = DebianBase(LayerStore(tmp_path), "http://127.0.0.1:9", print)
    with pytest.raises(OutsideError, match="base layer could not be made") as caught:
        base.layer("amd64")
    assert "images.mirror" in caught.value.fix
    assert caught.value.retryable
    assert list((tmp_path / "blobs").iterdir()) == []


def test_without_mmdebstrap_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OutsideError, match="mmdebstrap") as caught:
        DebianBase(LayerStore(tmp_path), MIRROR, print).layer("amd64")
    assert "apt-get install mmdebstrap" in caught.value.fix
