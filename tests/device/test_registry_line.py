import pytest

from edgeferry.device.registry_line import is_loopback, split_reference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        pytest.param(f"r.example:5443/a/b@{DIGEST}", ("r.example:5443", "a/b", DIGEST), id="digest"),
        pytest.param("r.example/a:1.5", ("r.example", "a", "1.5"), id="tag"),
        pytest.param(f"r.example/a:1.5@{DIGEST}", ("r.example", "a", DIGEST), id="tag-and-digest"),
        pytest.param("r.example/a", ("r.example", "a", "latest"), id="neither"),
        pytest.param("localhost/a:1", ("localhost", "a", "1"), id="localhost"),
        pytest.param("alpine:3", ("registry-1.docker.io", "library/alpine", "3"), id="the-engines-own"),
        pytest.param("team/a", ("registry-1.docker.io", "team/a", "latest"), id="the-engines-own-of-a-team"),
        pytest.param("docker.io/team/a", ("registry-1.docker.io", "team/a", "latest"), id="by-its-name"),
    ],
)
def test_a_reference_is_read_as_engines_read_it(image, expected):
    assert split_reference(image) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        pytest.param("127.0.0.1:5000", True, id="port"),
        pytest.param("127.31.7.1", True, id="another"),
        pytest.param("localhost:5000", True, id="name"),
        pytest.param("10.0.0.1:5000", False, id="elsewhere"),
        pytest.param("127.0.0.1.example:5000", False, id="a-name-like-it"),
    ],
)
def test_only_this_machine_is_believed_without_a_certificate(host, expected):
    assert is_loopback(host) is expected
