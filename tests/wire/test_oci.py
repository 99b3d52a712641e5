"""OCI documents: literals in, literals out."""

from __future__ import annotations

import json

import pytest

from edgeferry.domain.image import Image, Layer
from edgeferry.errors import UsageError
from edgeferry.wire.oci import (
    CONFIG,
    EMPTY,
    INDEX,
    MANIFEST,
    TAR,
    Descriptor,
    Reference,
    Run,
    choose_platform,
    digest_of,
    is_digest,
    parse_index,
    parse_manifest,
    parse_reference,
    referrers_tag,
    render_archive,
    render_artifact,
    render_built_config,
    render_config,
    render_index,
    render_manifest,
    render_reference,
)

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
EMPTY_DIGEST = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
LAYER = Layer("model", "/blobs/a", A, B, 2048, TAR)
RUN = Run(("/usr/bin/python3", "-m", "server"), ("A=1",), "65532:65532", ("8080/tcp",))


def test_a_config_has_one_byte_form() -> None:
    assert render_config("amd64", [LAYER], RUN, {"title": "taxi"}) == (
        b'{"architecture":"amd64","config":{"Entrypoint":["/usr/bin/python3","-m","server"],"Env":["A=1"],'
        b'"ExposedPorts":{"8080/tcp":{}},"Labels":{"title":"taxi"},"User":"65532:65532","WorkingDir":"/"},'
        b'"created":"2025-01-01T00:00:00Z",'
        b'"history":[{"created":"2025-01-01T00:00:00Z","created_by":"edgeferry: model"}],"os":"linux",'
        b'"rootfs":{"diff_ids":["' + B.encode() + b'"],"type":"layers"}}'
    )


def test_the_config_of_a_built_image_keeps_how_it_starts_and_nothing_of_the_hour() -> None:
    built = {
        "architecture": "arm64",
        "os": "linux",
        "created": "2026-03-01T10:00:00.123Z",
        "container": "4f1c",
        "config": {
            "Hostname": "4f1c",
            "Image": A,
            "User": "65532",
            "Entrypoint": ["/run"],
            "Cmd": None,
            "Labels": {"team": "fares", "title": "mine"},
        },
        "rootfs": {"type": "layers", "diff_ids": [A, A]},
    }
    assert render_built_config(built, [LAYER], {"title": "taxi"}) == (
        b'{"architecture":"arm64","config":{"Entrypoint":["/run"],"Labels":{"team":"fares","title":"taxi"},'
        b'"User":"65532"},"created":"2025-01-01T00:00:00Z",'
        b'"history":[{"created":"2025-01-01T00:00:00Z","created_by":"edgeferry: model"}],"os":"linux",'
        b'"rootfs":{"diff_ids":["' + B.encode() + b'"],"type":"layers"}}'
    )


def test_a_manifest_names_config_and_layers_by_digest_and_size() -> None:
    manifest = parse_manifest(render_manifest(b"config", [LAYER]))
    assert manifest.config == Descriptor(CONFIG, digest_of(b"config"), 6)
    assert manifest.layers == (Descriptor(TAR, A, 2048),)
    assert (manifest.artifact_type, manifest.subject) == ("", None)


def test_an_artifact_points_to_its_subject() -> None:
    subject = Descriptor(MANIFEST, A, 100)
    manifest = parse_manifest(render_artifact("application/x", b"body", subject))
    assert manifest.subject == subject
    assert manifest.artifact_type == "application/x"
    assert manifest.config == Descriptor(EMPTY, EMPTY_DIGEST, 2)
    assert manifest.layers == (Descriptor("application/x", digest_of(b"body"), 4),)


def test_an_index_is_read_back_in_its_order() -> None:
    listed = (
        Descriptor(MANIFEST, B, 2, "application/x", {"by": "me"}),
        Descriptor(MANIFEST, A, 1),
    )
    body = render_index(listed)
    assert parse_index(body) == listed
    assert json.loads(body)["mediaType"] == INDEX


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"{}", id="an empty object"),
        pytest.param(b'{"manifests":[{"mediaType":"a","digest":"sha256:1","size":1}]}', id="a short digest"),
        pytest.param(b'{"manifests":[1]}', id="numbers"),
    ],
)
def test_what_is_no_index_is_refused(body: bytes) -> None:
    with pytest.raises(UsageError, match="no OCI image index"):
        parse_index(body)
    with pytest.raises(UsageError, match="no OCI manifest"):
        parse_manifest(body)


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        pytest.param(
            f"127.0.0.7:5443/edgeferry/nyc_taxi@{A}",
            Reference("127.0.0.7:5443", "edgeferry/nyc_taxi", "", A),
            id="by digest",
        ),
        pytest.param("ghcr.io/a/b:v1", Reference("ghcr.io", "a/b", "v1", ""), id="by tag"),
        pytest.param(f"localhost/b:v1@{A}", Reference("localhost", "b", "v1", A), id="by both"),
        pytest.param("reg.example/b", Reference("reg.example", "b", "", ""), id="by neither"),
    ],
)
def test_references_are_read_and_written(text: str, reference: Reference) -> None:
    assert parse_reference(text) == reference
    assert render_reference(reference) == text


@pytest.mark.parametrize(
    "text",
    ["", "python", "library/python", "python:3.11", "reg.example/UPPER", "reg.example/a@sha256:12", "a b"],
)
def test_what_is_no_full_reference_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no image reference"):
        parse_reference(text)


def test_digests_and_tags() -> None:
    assert digest_of(b"{}") == EMPTY_DIGEST
    assert is_digest(A)
    assert not is_digest(A + "0")
    assert not is_digest(A[:-1] + "A")
    assert referrers_tag(A) == "sha256-" + "a" * 64


def test_an_archive_is_for_old_engines_and_new_ones() -> None:
    config = render_config("amd64", [LAYER], RUN, {})
    manifest = render_manifest(config, [LAYER])
    image = Image("taxi", "v1", digest_of(manifest), digest_of(config), manifest, config, (LAYER,), {})
    files = render_archive(image, "edgeferry.invalid/taxi:x")
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    assert json.loads(files["manifest.json"]) == [
        {
            "Config": "blobs/sha256/" + image.config_digest[7:],
            "Layers": ["blobs/sha256/" + "a" * 64],
            "RepoTags": ["edgeferry.invalid/taxi:x"],
        }
    ]
    (listed,) = parse_index(files["index.json"])
    assert (listed.digest, listed.size_bytes) == (image.digest, len(manifest))
    assert listed.annotations["io.containerd.image.name"] == "edgeferry.invalid/taxi:x"
    assert files["blobs/sha256/" + image.digest[7:]] == manifest
    assert files["blobs/sha256/" + image.config_digest[7:]] == config


def _entry(digest: str, architecture: str, system: str = "linux") -> dict[str, object]:
    return {"digest": digest, "platform": {"architecture": architecture, "os": system}}


@pytest.mark.parametrize(
    ("said", "digest"),
    [
        pytest.param(
            {"manifests": [_entry("a", "amd64", "windows"), _entry("b", "amd64"), _entry("c", "arm64")]},
            "b",
            id="an index",
        ),
        pytest.param({"manifests": [_entry("c", "arm64")]}, "", id="not for this machine"),
        pytest.param({"manifests": [{"digest": "a"}]}, "", id="platforms not named"),
        pytest.param({"config": {}, "layers": []}, "", id="a manifest"),
        pytest.param([1], "", id="no document"),
    ],
)
def test_the_manifest_for_a_machine_is_chosen_from_an_index(said: object, digest: str) -> None:
    assert choose_platform(json.dumps(said).encode(), "amd64") == digest
