"""Challenges, scopes and tokens as Distribution and Azure write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.wire.registry_token import (
    Challenge,
    Scope,
    is_repository,
    is_token,
    lifetime_s,
    parse_challenge,
    parse_jwt,
    parse_scopes,
    render_jwt,
    render_scope,
)


@pytest.mark.parametrize(
    ("header", "challenge"),
    [
        pytest.param(
            'Bearer realm="https://r.azurecr.io/oauth2/token",service="r.azurecr.io",scope="registry:catalog:*"',
            Challenge("bearer", "https://r.azurecr.io/oauth2/token", "r.azurecr.io"),
            id="Azure",
        ),
        pytest.param(
            'Bearer realm="https://a:1/token",service="s",scope="repository:x:pull,push",'
            'error="insufficient_scope"',
            Challenge("bearer", "https://a:1/token", "s", "insufficient_scope"),
            id="too little",
        ),
        pytest.param('Basic realm="tests"', Challenge("basic", "tests"), id="Basic"),
        pytest.param("", Challenge(""), id="none"),
    ],
)
def test_a_challenge_is_read(header: str, challenge: Challenge) -> None:
    assert parse_challenge(header) == challenge


@pytest.mark.parametrize(
    ("texts", "scopes"),
    [
        pytest.param([], (), id="none"),
        pytest.param(["repository:a/b:pull"], (Scope("repository", "a/b", ("pull",)),), id="one"),
        pytest.param(
            ["repository:a:pull,push repository:b:pull", "registry:catalog:*"],
            (
                Scope("repository", "a", ("pull", "push")),
                Scope("repository", "b", ("pull",)),
                Scope("registry", "catalog", ("*",)),
            ),
            id="several in one and in all",
        ),
        pytest.param(
            ["repository:h:5000/a:pull"], (Scope("repository", "h:5000/a", ("pull",)),), id="a port"
        ),
        pytest.param(["repository:a:"], (Scope("repository", "a", ()),), id="no action"),
    ],
)
def test_scopes_are_read(texts: list[str], scopes: tuple[Scope, ...]) -> None:
    assert parse_scopes(texts) == scopes


@pytest.mark.parametrize("text", ["x", "repository:a", ":a:pull", "repository::pull"])
def test_what_is_no_scope_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no scope"):
        parse_scopes([text])


def test_a_scope_is_written_as_it_is_read() -> None:
    text = "repository:edgeferry/taxi:pull,push"
    assert [render_scope(scope) for scope in parse_scopes([text])] == [text]


@pytest.mark.parametrize("name", ["a", "edgeferry/nyc_taxi", "a.b/c--d/e__f", "a" * 255])
def test_a_repositorys_name(name: str) -> None:
    assert is_repository(name)


@pytest.mark.parametrize("name", ["", "A", "a//b", "/a", "a/", "a..b", "a___b", "a:b", "*", "a b", "a" * 256])
def test_no_repositorys_name(name: str) -> None:
    assert not is_repository(name)


@given(st.dictionaries(st.text(), st.integers() | st.text()), st.binary())
def test_a_token_is_read_as_it_was_written(claims: dict[str, object], signature: bytes) -> None:
    seen: list[bytes] = []
    token = render_jwt({"alg": "none"}, claims, lambda signed: seen.append(signed) or signature)
    parts = parse_jwt(token)
    assert (parts.header, parts.claims, parts.signature) == ({"alg": "none"}, claims, signature)
    assert [parts.signed] == seen
    assert is_token(token)


@pytest.mark.parametrize("text", ["", "opaque", "a.b.c", "e30.W10.", "e30.é.", "W10.e30."])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a signed token"):
        parse_jwt(text)


@pytest.mark.parametrize("text", ["", "a b", "a\nb", "é"])
def test_what_cannot_stand_in_a_header_is_no_token(text: str) -> None:
    assert not is_token(text)


@pytest.mark.parametrize(
    ("claims", "seconds"),
    [
        pytest.param({"iat": 1000, "exp": 1300}, 300, id="by its making"),
        pytest.param({"nbf": 1000, "exp": 1300}, 300, id="by its beginning"),
        pytest.param({"iat": 1000, "exp": 900}, 0, id="over before it began"),
        pytest.param({"exp": 1300}, 60, id="no beginning"),
        pytest.param({"iat": 1000}, 60, id="no end"),
        pytest.param({"iat": "then", "exp": 1300}, 60, id="nonsense"),
    ],
)
def test_a_token_says_how_long_it_lasts(claims: dict[str, object], seconds: float) -> None:
    assert lifetime_s(render_jwt({}, claims, lambda _: b""), 60) == seconds
