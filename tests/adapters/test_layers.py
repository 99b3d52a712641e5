"""Layers on disk: deterministic, kept by their inputs, whole or not there."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import threading
from pathlib import Path

import pytest

from edgeferry.adapters.layers import LayerStore, LayerTar
from edgeferry.domain.image import Layer


def fill(tar: LayerTar) -> None:
    tar.file("opt/a/b.txt", b"hello")
    tar.file("opt/a/run", b"#!", mode=0o755)
    tar.link("usr/bin/python3", "python3.11")


def read(layer: Layer) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(layer.path) as tar:
        return {member.name: member for member in tar}


@pytest.mark.parametrize("compressed", [True, False])
def test_the_same_inputs_give_the_same_bytes_anywhere(tmp_path: Path, compressed: bool) -> None:
    one = LayerStore(tmp_path / "one").layer("x", {"v": 1}, fill, compressed=compressed)
    other = LayerStore(tmp_path / "elsewhere").layer("x", {"v": 1}, fill, compressed=compressed)
    assert Path(one.path).read_bytes() == Path(other.path).read_bytes()
    assert (one.digest, one.diff_id) == (other.digest, other.diff_id)


def test_digests_are_those_of_the_bytes_packed_and_unpacked(tmp_path: Path) -> None:
    store = LayerStore(tmp_path)
    packed = store.layer("x", {}, fill, compressed=True)
    body = Path(packed.path).read_bytes()
    assert packed.digest == f"sha256:{hashlib.sha256(body).hexdigest()}"
    assert packed.diff_id == f"sha256:{hashlib.sha256(gzip.decompress(body)).hexdigest()}"
    assert packed.size_bytes == len(body)
    assert packed.media_type.endswith("+gzip")
    plain = store.layer("x", {}, fill, compressed=False)
    assert plain.digest == plain.diff_id == packed.diff_id
    assert not plain.media_type.endswith("+gzip")


def test_entries_belong_to_root_have_one_time_and_all_their_folders(tmp_path: Path) -> None:
    entries = read(LayerStore(tmp_path).layer("x", {}, fill, compressed=False))
    assert list(entries) == ["opt", "opt/a", "opt/a/b.txt", "opt/a/run", "usr", "usr/bin", "usr/bin/python3"]
    assert {(e.uid, e.gid, e.uname, e.gname, e.mtime) for e in entries.values()} == {
        (0, 0, "", "", 1735689600)
    }
    assert entries["opt"].mode == 0o755
    assert entries["opt/a/run"].mode == 0o755
    assert entries["opt/a/b.txt"].mode == 0o644
    assert entries["usr/bin/python3"].linkname == "python3.11"


def test_a_folder_may_belong_to_the_one_who_writes_there(tmp_path: Path) -> None:
    entries = read(
        LayerStore(tmp_path).layer("x", {}, lambda tar: tar.folder("var/x", 65532), compressed=False)
    )
    assert (entries["var"].uid, entries["var"].mode) == (0, 0o755)
    assert (entries["var/x"].uid, entries["var/x"].gid, entries["var/x"].mode) == (65532, 65532, 0o755)


def test_members_of_another_tar_lose_their_owner_and_keep_their_mode(tmp_path: Path) -> None:
    def copy(tar: LayerTar) -> None:
        member = tarfile.TarInfo("./tmp/")
        member.type, member.mode, member.uid, member.mtime = tarfile.DIRTYPE, 0o1777, 5, 7
        member.name = "tmp"
        tar.member(member)
        body = tarfile.TarInfo("tmp/x")
        body.size, body.pax_headers = 2, {"comment": "host"}
        tar.member(body, io.BytesIO(b"ab"))

    entries = read(LayerStore(tmp_path).layer("x", {}, copy, compressed=False))
    assert list(entries) == ["tmp", "tmp/x"]
    assert (entries["tmp"].mode, entries["tmp"].uid, entries["tmp"].mtime) == (0o1777, 0, 1735689600)
    assert entries["tmp/x"].pax_headers == {}


def test_a_kept_layer_is_not_made_again_and_a_lost_one_is(tmp_path: Path) -> None:
    store, made = LayerStore(tmp_path), []

    def counted(tar: LayerTar) -> None:
        made.append(1)
        fill(tar)

    first = store.layer("x", {"v": 1}, counted, compressed=False)
    assert store.layer("x", {"v": 1}, counted, compressed=False) == first
    assert len(made) == 1
    store.layer("x", {"v": 2}, counted, compressed=False)
    assert len(made) == 2
    Path(first.path).write_bytes(b"cut")
    assert store.layer("x", {"v": 1}, counted, compressed=False) == first
    assert len(made) == 3
    assert len(Path(first.path).read_bytes()) == first.size_bytes


def test_a_store_may_move(tmp_path: Path) -> None:
    first = LayerStore(tmp_path / "a").layer("x", {}, fill, compressed=False)
    (tmp_path / "a").rename(tmp_path / "b")
    moved = LayerStore(tmp_path / "b").layer("x", {}, pytest.fail, compressed=False)
    assert moved.path.startswith(str(tmp_path / "b"))
    assert moved.digest == first.digest


def test_a_layer_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    def broken(tar: LayerTar) -> None:
        fill(tar)
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        LayerStore(tmp_path).layer("x", {}, broken, compressed=True)
    assert list((tmp_path / "blobs").iterdir()) == []
    assert not list((tmp_path / "layers").glob("*.json"))


def test_builders_at_the_same_time_do_the_work_once(tmp_path: Path) -> None:
    made, layers = [], []
    together = threading.Barrier(4)

    def counted(tar: LayerTar) -> None:
        made.append(1)
        fill(tar)

    def build() -> None:
        together.wait(60)
        layers.append(LayerStore(tmp_path).layer("x", {}, counted, compressed=True))

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert layers == [layers[0]] * 4


def test_a_tar_made_elsewhere_is_kept_compressed_under_the_hash_of_its_bytes(tmp_path: Path) -> None:
    store = LayerStore(tmp_path)
    diff_id = f"sha256:{hashlib.sha256(b'a tar').hexdigest()}"
    layer = store.keep("dockerfile", diff_id, io.BytesIO(b"a tar"))
    assert gzip.decompress(Path(layer.path).read_bytes()) == b"a tar"
    assert (layer.diff_id, layer.title) == (diff_id, "dockerfile")
    assert store.keep("dockerfile", diff_id, io.BytesIO(b"not read")) == layer


def test_a_tar_that_is_not_what_it_should_be_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="should be sha256:00"):
        LayerStore(tmp_path).keep("dockerfile", "sha256:" + "0" * 64, io.BytesIO(b"a tar"))
    assert list((tmp_path / "blobs").iterdir()) == []
