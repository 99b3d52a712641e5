"""Logins by Microsoft Entra, tokens that end, registries that throttle, and rights that are missing."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeferry.adapters.registry import RegistryClient
from edgeferry.adapters.registry_transport import ATTEMPTS, PATIENCE_S
from edgeferry.errors import RegistryError
from edgeferry.wire.registry_token import DELETE, PULL, PUSH
from tests.adapters.acr import Acr, running_acr
from tests.adapters.test_registry import TYPE, make_image
from tests.registries import RegistryServer

NOWHERE = "sha256:" + "0" * 64


class World:
    """A client of the stand-in, with a clock that we move and sleeps that we count."""

    def __init__(self, acr: Acr, prefix: str) -> None:
        self.acr = acr
        self.slept: list[float] = []
        self.later_s = 0.0
        self.logins = 0
        self.prefix = prefix
        self.client = RegistryClient(
            acr.host,
            prefix,
            ca_file=acr.upstream.ca_file,
            aad_token=self.aad_token,
            sleep=self.slept.append,
            now=lambda: time.time() + self.later_s,
            jitter=lambda: 0.0,
        )

    def aad_token(self) -> str:
        self.logins += 1
        return self.acr.aad_token(self.logins)


@pytest.fixture
def world(registry_server: RegistryServer, tmp_path: Path) -> Iterator[World]:
    with running_acr(tmp_path, registry_server) as acr:
        world = World(acr, "t" + str(abs(hash(str(tmp_path)))))
        yield world
        world.client.close()


def test_an_entra_identity_pushes_reads_and_deletes_with_a_token_for_each_right(
    world: World, tmp_path: Path
) -> None:
    image = make_image(tmp_path)
    assert world.client.push(image) == image.size_bytes
    world.client.attach("taxi", image.digest, TYPE, b"note")
    assert world.client.attached("taxi", image.digest, TYPE) == [b"note"]
    world.client.remove("taxi", image.digest)
    assert not world.client.has("taxi", image.digest)
    assert [form["scope"].rpartition(":")[2] for form in world.acr.asked("/oauth2/token")] == [
        "pull",
        "pull,push",
        "delete",
    ]
    assert {form["scope"].split(":")[1] for form in world.acr.asked("/oauth2/token")} == {
        f"{world.prefix}/taxi"
    }
    assert len(world.acr.asked("/oauth2/exchange")) == world.logins == 1


def test_reading_alone_asks_for_no_right_to_write(world: World) -> None:
    assert not world.client.has("taxi", NOWHERE)
    assert [form["scope"] for form in world.acr.asked("/oauth2/token")] == [
        f"repository:{world.prefix}/taxi:pull"
    ]


def test_the_refresh_token_is_kept_until_its_end_is_near(world: World) -> None:
    for name, later_s, exchanges, tokens in (
        ("taxi", 0, 1, 1),
        ("taxi", 0, 1, 1),
        ("other", 0, 1, 2),
        ("taxi", 250, 1, 3),  # access tokens last 300 s
        ("taxi", 8000, 1, 4),
        ("taxi", 9000, 2, 5),  # the refresh token lasts 10800 s
    ):
        world.later_s = later_s
        assert not world.client.has(name, NOWHERE)
        assert len(world.acr.asked("/oauth2/exchange")) == exchanges, later_s
        assert len(world.acr.asked("/oauth2/token")) == tokens, later_s
    assert world.logins == 2


def test_a_refresh_token_that_azure_revoked_is_exchanged_for_anew(world: World) -> None:
    assert not world.client.has("taxi", NOWHERE)
    world.acr.revoked.add(world.acr.asked("/oauth2/token")[0]["refresh_token"])
    assert not world.client.has("other", NOWHERE)
    assert world.logins == 2


@pytest.mark.parametrize("call", ["PUT", "POST", "HEAD"])
def test_a_token_that_ends_in_the_middle_of_an_upload_is_renewed_and_the_body_sent_whole(
    world: World, tmp_path: Path, call: str
) -> None:
    image = make_image(tmp_path)
    world.acr.expire.append(f"{call} /v2/{world.prefix}/taxi/blobs/")
    assert world.client.push(image) == image.size_bytes
    assert world.acr.expire == []
    assert world.client.has("taxi", image.digest)
    assert world.client.push(image) == 0


# refusals


@pytest.mark.parametrize("at_token", [False, True], ids=["at the registry", "at the token endpoint"])
@pytest.mark.parametrize(
    ("may", "problem", "role"),
    [
        pytest.param((), "pull from", "AcrPull", id="no role"),
        pytest.param((PULL,), "push to", "AcrPush", id="AcrPull only"),
        pytest.param((PULL, PUSH), "delete from", "AcrDelete", id="AcrPush only"),
    ],
)
def test_a_missing_role_is_named(
    world: World, tmp_path: Path, may: tuple[str, ...], problem: str, role: str, at_token: bool
) -> None:
    world.acr.may, world.acr.refuse_at_token = may, at_token
    image = make_image(tmp_path)

    def push_and_remove() -> None:
        world.client.push(image)
        world.client.remove("taxi", image.digest)

    with pytest.raises(RegistryError, match=f"may not {problem} {world.prefix}/taxi") as caught:
        push_and_remove()
    assert f"the role {role} on {world.acr.host}" in caught.value.fix
    assert not caught.value.retryable


def test_an_identity_that_the_registry_does_not_know_is_said_so(world: World) -> None:
    world.acr.knows_identity = False
    with pytest.raises(RegistryError, match="refused this Microsoft Entra identity") as caught:
        world.client.has("taxi", NOWHERE)
    assert "az login" in caught.value.fix


def test_a_firewall_is_no_missing_role(world: World) -> None:
    world.acr.address_is_allowed = False
    with pytest.raises(RegistryError, match=r"192\.0\.2\.7") as caught:
        world.client.has("taxi", NOWHERE)
    assert "firewall" in caught.value.fix


def test_the_entra_token_goes_to_the_registrys_own_host_only(
    registry_server: RegistryServer, world: World
) -> None:
    client = RegistryClient(
        registry_server.host, ca_file=registry_server.ca_file, aad_token=world.acr.aad_token
    )
    with pytest.raises(RegistryError, match="not its own") as caught:
        client.has("taxi", NOWHERE)
    client.close()
    assert "was not sent" in caught.value.fix


@pytest.mark.parametrize("at", ["exchange", "token", "wrong password"])
def test_no_secret_is_in_errors_logs_or_texts_of_objects(
    world: World, registry_server: RegistryServer, caplog: pytest.LogCaptureFixture, at: str
) -> None:
    caplog.set_level(logging.DEBUG)
    world.acr.tattles = True
    world.acr.knows_identity, world.acr.refuse_at_token = at != "exchange", at == "token"
    world.acr.may = ()
    client = world.client
    if at == "wrong password":
        client = RegistryClient(registry_server.host, "", "pusher", "hunter2", registry_server.ca_file)
    with pytest.raises(RegistryError) as caught:
        client.has("taxi", NOWHERE)
    client.close()
    secrets = [text for _, form in world.acr.forms for key, text in form.items() if key.endswith("_token")]
    told = [str(caught.value), *traceback.format_exception(caught.value), caplog.text]
    told += [repr(client), repr(vars(client)), repr(vars(client._login)["_tokens"])]
    assert secrets or at == "wrong password"
    assert not [secret for secret in (*secrets, "hunter2") for text in told if secret in text]


def test_an_answer_that_is_no_token_is_neither_used_nor_repeated(world: World) -> None:
    world.acr.nonsense = "s3cret\r\nx-injected: 1"
    with pytest.raises(RegistryError, match="something that is no token") as caught:
        world.client.has("taxi", NOWHERE)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


# patience


@pytest.mark.parametrize(
    "call",
    [
        "POST /oauth2/exchange",
        "POST /oauth2/token",
        "HEAD /v2/{}/taxi/blobs",
        "POST /v2/{}/taxi/blobs",
        "PUT /v2/{}/taxi/blobs",
        "PUT /v2/{}/taxi/manifests",
    ],
)
def test_a_throttled_request_is_sent_again_whole_after_the_wait(
    world: World, tmp_path: Path, call: str
) -> None:
    start = call.format(world.prefix)
    world.acr.throttle += [(start, 429, "3"), (start, 503, "")]
    image = make_image(tmp_path)
    assert world.client.push(image) == image.size_bytes
    assert world.slept == [3.0, 2.0]
    assert world.acr.throttle == []
    assert world.client.has("taxi", image.digest)


def test_a_registry_that_throttles_for_ever_ends_in_an_error_worth_a_retry(world: World) -> None:
    world.acr.throttle += [("HEAD", 429, "")] * 99
    with pytest.raises(RegistryError, match="answered 429") as caught:
        world.client.has("taxi", NOWHERE)
    assert caught.value.retryable
    assert world.slept == [1, 2, 4, 8, 16]
    assert len(world.acr.calls) == ATTEMPTS


def test_a_wait_beyond_our_patience_is_not_begun(world: World) -> None:
    world.acr.throttle += [("HEAD", 429, str(int(PATIENCE_S) - 1)), ("HEAD", 429, "2")]
    with pytest.raises(RegistryError, match="answered 429") as caught:
        world.client.has("taxi", NOWHERE)
    assert caught.value.retryable
    assert world.slept == [PATIENCE_S - 1]


def test_a_login_that_is_throttled_for_ever_is_worth_a_retry(world: World) -> None:
    world.acr.throttle += [("POST /oauth2/exchange", 503, "1")] * 99
    with pytest.raises(RegistryError, match=r"login: .* answered 503") as caught:
        world.client.has("taxi", NOWHERE)
    assert caught.value.retryable


def test_the_stand_in_refuses_wrong_forms(world: World) -> None:
    good = {"grant_type": "access_token", "service": world.acr.host, "tenant": "other", "access_token": "x"}
    assert world.acr.exchange(good)[0] == 400
    assert world.acr.token({**good, "scope": f"repository:x:{DELETE}"})[0] == 400
