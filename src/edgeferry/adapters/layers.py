"""Layers as files: deterministic tars, each made once and kept by the hash of what went into it.

    blobs/<sha256>          the bytes of a layer
    layers/<input hash>.json  which layer those inputs gave

Entries belong to root, unless said otherwise, and carry one fixed time. Blobs are written beside their place
and renamed into it; a lock for each input hash keeps two builders from doing the same work.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

from edgeferry.adapters.lock import locked
from edgeferry.domain.image import Layer
from edgeferry.wire.canonical import render_canonical
from edgeferry.wire.oci import EPOCH, TAR, TAR_GZIP

_FORMAT = 1
"""Raised when the same inputs are to give other bytes."""


class LayerTar:
    """A tar being written: sorted input in, deterministic bytes out. Missing parent folders are added."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._folders: set[str] = set()

    def file(self, path: str, body: bytes, mode: int = 0o644) -> None:
        """A regular file at `path` (relative, without leading slash)."""
        member = tarfile.TarInfo(path)
        member.size, member.mode = len(body), mode
        self.member(member, io.BytesIO(body))

    def link(self, path: str, target: str) -> None:
        """A symbolic link."""
        member = tarfile.TarInfo(path)
        member.type, member.linkname, member.mode = tarfile.SYMTYPE, target, 0o777
        self.member(member)

    def folder(self, path: str, owner: int) -> None:
        """A folder at `path` that belongs to the user and the group `owner`."""
        member = tarfile.TarInfo(path)
        member.type, member.mode = tarfile.DIRTYPE, 0o755
        self.member(member, owner=owner)

    def member(self, member: tarfile.TarInfo, body: IO[bytes] | None = None, owner: int = 0) -> None:
        """A member of another tar, its owner, time and extras made uniform."""
        name = member.name.strip("/")
        parent = name.rpartition("/")[0]
        if parent and parent not in self._folders:
            folder = tarfile.TarInfo(parent)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            self.member(folder)
        if member.isdir():
            if name in self._folders:
                return
            self._folders.add(name)
        clean = tarfile.TarInfo(name)
        clean.type, clean.linkname, clean.size = member.type, member.linkname, member.size
        clean.mode, clean.mtime, clean.uid, clean.gid = member.mode, EPOCH, owner, owner
        self._tar.addfile(clean, body)


class LayerStore:
    """The layers kept in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def layer(
        self, title: str, inputs: Mapping[str, Any], fill: Callable[[LayerTar], None], *, compressed: bool
    ) -> Layer:
        """The layer that `fill` writes, or the one kept for these `inputs`.

        An uncompressed layer's digest cannot depend on a zlib: right for small ones.
        """
        identity = render_canonical({"format": _FORMAT, "title": title, "inputs": inputs, "gzip": compressed})
        return self._kept(identity, lambda: self._pack(title, fill, compressed))

    def keep(self, title: str, diff_id: str, tar: IO[bytes]) -> Layer:
        """The layer of a tar made elsewhere, compressed; ValueError when its bytes are not `diff_id`."""
        identity = render_canonical({"format": _FORMAT, "title": title, "diff_id": diff_id})
        return self._kept(identity, lambda: self._squeeze(title, diff_id, tar))

    def _kept(self, identity: bytes, make: Callable[[], Layer]) -> Layer:
        record = self._folder / "layers" / f"{hashlib.sha256(identity).hexdigest()}.json"
        kept = self._load(record)
        if kept:
            return kept
        with locked(record.with_suffix(".lock")):
            kept = self._load(record)
            if kept:
                return kept
            layer = make()
            said = asdict(replace(layer, path=""))
            _write_whole(record, json.dumps(said).encode())
            return layer

    def _load(self, record: Path) -> Layer | None:
        """The layer on record, if its blob is still there with its size."""
        try:
            said = json.loads(record.read_bytes())
            path = self._blob(said["digest"])
            if path.stat().st_size != said["size_bytes"]:
                return None
        except FileNotFoundError:
            return None
        return Layer(**{**said, "path": str(path)})

    def _pack(self, title: str, fill: Callable[[LayerTar], None], compressed: bool) -> Layer:
        def write(sink: _Sink) -> None:
            # mypy: tarfile wants more of a file than a stream needs
            with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
                fill(LayerTar(tar))

        return self._write(title, write, compressed)

    def _squeeze(self, title: str, diff_id: str, tar: IO[bytes]) -> Layer:
        def write(sink: _Sink) -> None:
            shutil.copyfileobj(tar, sink)
            if sink.diff_id != diff_id:
                raise ValueError(f"a layer should be {diff_id}, and is {sink.diff_id}")

        return self._write(title, write, compressed=True)

    def _write(self, title: str, write: Callable[[_Sink], None], compressed: bool) -> Layer:
        blobs = self._folder / "blobs"
        blobs.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=blobs, prefix=".new-", delete=False) as file:
            try:
                sink = _Sink(file, compressed)
                write(sink)
                sink.end()
                file.flush()
                os.fsync(file.fileno())
                size = file.tell()
                os.chmod(file.name, 0o644)
                os.replace(file.name, self._blob(sink.digest))
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
        return Layer(
            title=title,
            path=str(self._blob(sink.digest)),
            digest=sink.digest,
            diff_id=sink.diff_id,
            size_bytes=size,
            media_type=TAR_GZIP if compressed else TAR,
        )

    def _blob(self, digest: str) -> Path:
        return self._folder / "blobs" / digest.removeprefix("sha256:")


class _Sink:
    """Writes on, compressed or not, and hashes both what comes in and what goes out."""

    def __init__(self, file: IO[bytes], compressed: bool) -> None:
        self._file = file
        self._plain = hashlib.sha256()
        self._written = hashlib.sha256()
        # 31: a gzip header, without name and time
        self._squeeze = zlib.compressobj(6, zlib.DEFLATED, 31) if compressed else None

    def write(self, chunk: bytes) -> int:
        self._plain.update(chunk)
        self._put(self._squeeze.compress(chunk) if self._squeeze else chunk)
        return len(chunk)

    def end(self) -> None:
        if self._squeeze:
            self._put(self._squeeze.flush())

    def _put(self, chunk: bytes) -> None:
        self._written.update(chunk)
        self._file.write(chunk)

    @property
    def digest(self) -> str:
        return f"sha256:{self._written.hexdigest()}"

    @property
    def diff_id(self) -> str:
        return f"sha256:{self._plain.hexdigest()}"


def _write_whole(path: Path, body: bytes) -> None:
    fresh = path.with_suffix(f".{os.getpid()}.new")
    fresh.write_bytes(body)
    fresh.replace(path)
