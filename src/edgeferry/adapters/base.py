"""The base layer: Python 3.11 and what it stands on, from Debian packages, without a shell.

Packages are unpacked only (mmdebstrap's `extract` variant): no script of theirs runs, so the layer is made
in seconds and for any architecture. What scripts would have written is added here: users, the bundle of
certificate authorities, the `python3` link. `var/lib/dpkg/status.d` names the packages inside, as scanners
of distroless images expect it.
"""

from __future__ import annotations

import fnmatch
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from edgeferry.adapters.bytecode import compile_folder, find_compiler
from edgeferry.adapters.layers import LayerStore, LayerTar
from edgeferry.domain.image import Layer
from edgeferry.errors import OutsideError
from edgeferry.surroundings import child_environment
from edgeferry.wire.oci import EPOCH

PYTHON = "/usr/bin/python3"
USER = "65532:65532"
_SUITE = "bookworm"
_PACKAGES = (
    "base-files",
    "ca-certificates",
    "libgomp1",
    "libpython3.11-stdlib",
    "libstdc++6",
    "media-types",
    "netbase",
    "python3.11-minimal",
    "tzdata",
)
_KEPT = ("usr/share/doc/*/copyright",)
_LEFT_OUT = (
    "dev/*",
    "etc/apt/*",
    "etc/hostname",  # of the machine that builds, like the next
    "etc/resolv.conf",
    "usr/bin/debconf*",
    "usr/bin/dpkg*",
    "usr/bin/mawk",
    "usr/bin/openssl",
    "usr/bin/tar",
    "usr/bin/update-alternatives",
    "usr/lib/dpkg/*",
    "usr/sbin/*",
    "usr/share/doc/*",
    "usr/share/man/*",
    "usr/share/info/*",
    "usr/share/locale/*",
    "usr/share/lintian/*",
    "usr/share/bash-completion/*",
    "usr/lib/*/gconv/*",
    "usr/lib/python3.11/pydoc_data/*",
    "usr/lib/python3.11/lib2to3/*",
    "usr/lib/python3.11/idlelib/*",
    "usr/lib/python3*/__pycache__/*",
    "var/cache/*",
    "var/lib/apt/*",
    "var/log/*",
)
_LIBRARY = "usr/lib/python3.11/"
_CERTIFICATES = "usr/share/ca-certificates/mozilla/"
_PASSWD = (
    b"root:x:0:0:root:/root:/sbin/nologin\nedgeferry:x:65532:65532:edgeferry:/nonexistent:/sbin/nologin\n"
)
_GROUP = b"root:x:0:\nedgeferry:x:65532:\n"
_RECORD_PACKAGES = (
    'mkdir -p "$1/var/lib/dpkg/status.d"; for deb in "$1"/var/cache/apt/archives/*.deb; do '
    'dpkg-deb -f "$deb" >"$1/var/lib/dpkg/status.d/$(dpkg-deb -f "$deb" Package)"; done'
)


class DebianBase:
    """Makes the base layer from the Debian mirror `mirror` (which holds `debian` and `debian-security`)."""

    def __init__(self, store: LayerStore, mirror: str, say: Callable[[str], None]) -> None:
        self._store = store
        self._mirror = mirror.rstrip("/")
        self._say = say

    def layer(self, architecture: str) -> Layer:
        """The layer for `architecture` (`amd64`, `arm64`), made once: it keeps its package versions until
        the state folder's `images` is removed. OutsideError when the mirror or a tool fails."""
        sources = [
            f"deb {self._mirror}/debian {_SUITE} main",
            f"deb {self._mirror}/debian {_SUITE}-updates main",
            f"deb {self._mirror}/debian-security {_SUITE}-security main",
        ]
        recipe = {
            "architecture": architecture,
            "sources": sources,
            "packages": _PACKAGES,
            "left_out": _LEFT_OUT,
            "kept": _KEPT,
            "users": (_PASSWD + _GROUP).decode(),
            "bytecode": bool(find_compiler()),
        }

        def fill(layer: LayerTar) -> None:
            self._say("making the base layer from Debian packages (once; about ten seconds)")
            self._unpack(architecture, sources, layer)

        return self._store.layer("base", recipe, fill, compressed=True)

    def _unpack(self, architecture: str, sources: list[str], layer: LayerTar) -> None:
        command = [
            self._program(),
            "--variant=extract",
            "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
            f"--architectures={architecture}",
            f"--include={','.join(_PACKAGES)}",
            f"--extract-hook={_RECORD_PACKAGES}",
            "--format=tar",
            _SUITE,
            "-",
            *sources,
        ]
        path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
        environment = {**child_environment(), "SOURCE_DATE_EPOCH": str(EPOCH), "LC_ALL": "C", "PATH": path}
        with tempfile.TemporaryFile() as log:
            # a folder that anybody may enter: mmdebstrap without root cannot use a private one
            with subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                cwd="/",
            ) as made:
                assert made.stdout is not None
                try:
                    complete = _copy(made.stdout, layer)
                    while made.stdout.read(1 << 16):
                        pass  # padding after the archive's end: closing on it would fail mmdebstrap
                except BaseException:
                    made.terminate()
                    raise
            if made.returncode != 0 or not complete:
                log.seek(0)
                raise _explain(log.read().decode("utf-8", "replace"))

    @staticmethod
    def _program() -> str:
        found = shutil.which("mmdebstrap")
        if not found:
            raise OutsideError(
                "mmdebstrap, which makes the base layer, is not installed",
                fix="sudo apt-get install mmdebstrap",
            )
        if os.geteuid() != 0 and not shutil.which("newuidmap"):
            raise OutsideError(
                "without root, mmdebstrap needs `newuidmap` to make the base layer",
                fix="sudo apt-get install uidmap, or package as root",
            )
        return found


def _copy(stream: object, layer: LayerTar) -> bool:
    """Whether the whole tar came through; filtered, and completed with what packages' scripts would write."""
    certificates = {}
    sources = {}
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:  # type: ignore[call-overload]
            for member in tar:
                name = member.name.removeprefix("./").strip("/")
                if not name or name == "." or _is_left_out(name):
                    continue
                member.name = name
                if member.islnk():
                    member.linkname = member.linkname.removeprefix("./")
                body = tar.extractfile(member) if member.isreg() else None
                if body and name.startswith(_CERTIFICATES):
                    certificates[name] = body.read()
                    layer.file(name, certificates[name], member.mode)
                elif body and name.startswith(_LIBRARY) and name.endswith(".py"):
                    sources[name] = body.read()
                    layer.file(name, sources[name], member.mode)
                else:
                    layer.member(member, body)
    except tarfile.TarError:
        return False
    if not certificates:
        return False
    layer.file("etc/passwd", _PASSWD)
    layer.file("etc/group", _GROUP)
    layer.file(
        "etc/ssl/certs/ca-certificates.crt", b"".join(certificates[name] for name in sorted(certificates))
    )
    layer.link("usr/bin/python3", "python3.11")
    _add_bytecode(sources, layer)
    return True


def _add_bytecode(sources: Mapping[str, bytes], layer: LayerTar) -> None:
    with tempfile.TemporaryDirectory(prefix="edgeferry-") as scratch:
        library = Path(scratch, "library")
        for name, source in sources.items():
            place = library / name.removeprefix(_LIBRARY)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(source)
        compile_folder(library, f"/{_LIBRARY}".rstrip("/"))
        for path in sorted(library.rglob("*.pyc")):
            layer.file(f"{_LIBRARY}{path.relative_to(library).as_posix()}", path.read_bytes())


def _is_left_out(name: str) -> bool:
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in _KEPT):
        return False
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in _LEFT_OUT)


def _explain(log: str) -> OutsideError:
    lines = [line for line in log.splitlines() if line.startswith(("E:", "W: Failed"))] or log.splitlines()
    reason = " ".join(lines[-3:]) or "without a word"
    if "keyring" in reason.lower() or "NO_PUBKEY" in log:
        fix = "sudo apt-get install debian-archive-keyring"
    else:
        fix = "check that images.mirror can be reached, and try again"
    return OutsideError(f"the base layer could not be made: {reason}", fix=fix, retryable=True)
