"""A container engine for tests: which one, a tiny image for it, and a registry that serves it."""

import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from edgeferry.errors import EngineError
from edgeferry.sandbox.engine import open_engine
from tests.needs import lack


def find_engine() -> str:
    """The url of an engine that answers; as root one is started where none does."""
    try:
        return open_engine(os.environ.get("DOCKER_HOST", ""), print)
    except EngineError as error:
        lack(str(error))


@dataclass(frozen=True)
class TinyImage:
    """An image that holds nothing but busybox; its entry point is a shell."""

    layer: bytes
    config: bytes

    @property
    def id(self) -> str:
        return digest_of(self.config)

    def write_archive(self, path: Path, tag: str) -> Path:
        """A `docker load` archive at `path`."""
        listing = [{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]
        with tarfile.open(path, "w") as archive:
            for name, body in (
                ("manifest.json", json.dumps(listing).encode()),
                ("config.json", self.config),
                ("layer.tar", self.layer),
            ):
                info = tarfile.TarInfo(name)
                info.size = len(body)
                archive.addfile(info, io.BytesIO(body))
        return path


def make_image(cache: Path, note: str, env: dict | None = None) -> TinyImage:
    """A tiny image that differs by its `note`; busybox is fetched once with apt and kept in `cache`."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as layer:
        for name, body, mode in (
            ("bin/busybox", _busybox(cache).read_bytes(), 0o755),
            ("note", note.encode(), 0o644),
        ):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(body), mode
            layer.addfile(info, io.BytesIO(body))
        link = tarfile.TarInfo("bin/sh")
        link.type, link.linkname = tarfile.SYMTYPE, "busybox"
        layer.addfile(link)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Entrypoint": ["/bin/busybox", "sh", "-c"],
            "Cmd": ["while true; do sleep 1; done"],
            "Env": ["PATH=/bin", *(f"{name}={text}" for name, text in (env or {}).items())],
            "Labels": {"note": note},
        },
        "rootfs": {"type": "layers", "diff_ids": [digest_of(packed.getvalue())]},
    }
    return TinyImage(packed.getvalue(), json.dumps(config).encode())


def digest_of(body: bytes) -> str:
    """The bytes' OCI digest."""
    return "sha256:" + hashlib.sha256(body).hexdigest()


def _busybox(cache: Path) -> Path:
    path = cache / "busybox"
    if path.exists():
        return path
    installed = shutil.which("busybox")
    if installed and subprocess.run(["ldd", installed], capture_output=True, check=False).returncode:
        return Path(installed)  # not a dynamic executable: it runs in an empty image
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        lack("busybox comes from apt-get, which is not here")
    got = subprocess.run(["apt-get", "download", "busybox-static"], cwd=cache, capture_output=True, text=True)
    packages = sorted(cache.glob("busybox-static_*.deb"))
    if not packages:
        lack(f"apt-get did not give busybox-static: {got.stderr.strip()[-200:]}")
    subprocess.run(["dpkg-deb", "-x", str(packages[0]), str(cache / "busybox.d")], check=True)
    draft = cache / "busybox.new"
    shutil.copy(cache / "busybox.d" / "bin" / "busybox", draft)
    draft.rename(path)
    return path


LOGIN = ("device", "right")
HTPASSWD = "device:$2b$04$nPQbWhgbtbAKG32ukU/.OugCOaVRS0ejFKaX/RI0ufs78a5./Ynum\n"
"""That login, as Distribution's htpasswd reads it (bcrypt)."""


@dataclass
class RunningRegistry:
    """A registry on loopback; plain HTTP, since the engine does not check TLS there anyway."""

    folder: Path
    login: tuple[str, str] | None = None
    address: str = ""
    process: subprocess.Popen | None = None

    def start(self) -> "RunningRegistry":
        """The registry serves."""
        if not self.address:
            with socket.create_server(("127.0.0.1", 0)) as taken:
                self.address = f"127.0.0.1:{taken.getsockname()[1]}"
        config = {
            "version": 0.1,
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(self.folder / "data")}},
            "http": {"addr": self.address},
        }
        if self.login:
            assert self.login == LOGIN
            (self.folder / "htpasswd").write_text(HTPASSWD)
            config["auth"] = {"htpasswd": {"realm": "test", "path": str(self.folder / "htpasswd")}}
        path = self.folder / "registry.yml"
        path.write_text(json.dumps(config))
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(["docker-registry", "serve", str(path)], stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not self._answers():
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.05)
        return self

    def stop(self) -> None:
        """The registry has ended."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
            self.process = None

    def tag(self, reference: str, tag: str) -> str:
        """The reference of the same image by a tag."""
        name, _, digest = reference.removeprefix(f"{self.address}/").partition("@")
        kind = "application/vnd.oci.image.manifest.v1+json"
        with httpx.Client(base_url=f"http://{self.address}", auth=self.login, trust_env=False) as client:
            manifest = client.get(f"/v2/{name}/manifests/{digest}", headers={"Accept": kind})
            headers = {"Content-Type": kind}
            put = client.put(f"/v2/{name}/manifests/{tag}", content=manifest.content, headers=headers)
            put.raise_for_status()
        return f"{self.address}/{name}:{tag}"

    def push(self, image: TinyImage, name: str) -> str:
        """The reference of the image, by digest, after it was pushed."""
        layer = {
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": digest_of(image.layer),
            "size": len(image.layer),
        }
        config = {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest_of(image.config),
            "size": len(image.config),
        }
        kind = "application/vnd.oci.image.manifest.v1+json"
        manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer]})
        with httpx.Client(base_url=f"http://{self.address}", auth=self.login, trust_env=False) as client:
            for blob in (image.layer, image.config):
                place = client.post(f"/v2/{name}/blobs/uploads/").headers["location"]
                params = {**httpx.URL(place).params, "digest": digest_of(blob)}
                client.put(place, params=params, content=blob).raise_for_status()
            digest = digest_of(manifest.encode())
            put = client.put(
                f"/v2/{name}/manifests/{digest}", content=manifest, headers={"Content-Type": kind}
            )
            put.raise_for_status()
        return f"{self.address}/{name}@{digest}"

    def _answers(self) -> bool:
        try:
            return httpx.get(f"http://{self.address}/v2/", trust_env=False).status_code in (200, 401)
        except httpx.TransportError:
            return False
