import base64
import hashlib
import hmac
from contextlib import suppress
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.wire.sas import is_signed_by, parse_sas, render_sas

KEY = base64.b64encode(b"k" * 32).decode()
OTHER = base64.b64encode(b"o" * 32).decode()


def signed(text: str, expires_at: int = 1795400000) -> str:
    digest = hmac.new(b"k" * 32, f"{text}\n{expires_at}".encode(), hashlib.sha256).digest()
    return quote(base64.b64encode(digest).decode(), safe="")


def test_a_signature_is_read_back_as_it_was_written():
    sas = parse_sas(render_sas("127.0.0.7:8443/devices/d 1", KEY, 1795400000, "device"))
    assert (sas.resource, sas.expires_at, sas.policy) == ("127.0.0.7:8443/devices/d 1", 1795400000, "device")
    assert is_signed_by(sas, KEY)
    assert not is_signed_by(sas, OTHER)


def test_the_text_is_the_documented_one():
    text = render_sas("h/devices/d", "a2V5", 1795400000)
    assert text == (
        "SharedAccessSignature sr=h%2Fdevices%2Fd"
        "&sig=KXHzxgYb3bcAF%2Fh3sJcOtB%2FuHLBxqZo%2F7dhXma8nfw8%3D&se=1795400000"
    )


@pytest.mark.parametrize(
    ("written", "was_signed"),
    [
        pytest.param("localhost%3A8443", "localhost%3A8443", id="Python service SDK"),
        pytest.param("localhost", "localhost", id="Node service SDK"),
        pytest.param("localhost%3A8443", "localhost:8443", id="signed before it was encoded"),
        pytest.param("h/devices/d", quote_plus("h/devices/d"), id="written raw, signed encoded"),
        pytest.param("localhost%3a8443", "localhost%3a8443", id="lower-case hexadecimal"),
        pytest.param("localhost%3A8443", "localhost%3a8443", id="signed in lower-case hexadecimal"),
    ],
)
def test_every_clients_way_of_encoding_is_taken(written, was_signed):
    sas = parse_sas(f"SharedAccessSignature sig={signed(was_signed)}&se=1795400000&sr={written}&skn=p")
    assert is_signed_by(sas, KEY)
    assert not is_signed_by(sas, OTHER)


def test_another_expiry_is_another_signature():
    text = render_sas("h", KEY, 1795400000).replace("1795400000", "1895400000")
    assert not is_signed_by(parse_sas(text), KEY)


@pytest.mark.parametrize("key", ["", "not base64", "a2V5"])
def test_a_key_that_is_none_signs_nothing(key):
    assert not is_signed_by(parse_sas(render_sas("h", KEY, 1795400000)), key)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Bearer abc",
        "SharedAccessSignature ",
        "SharedAccessSignature sr=h&sig=x",
        "SharedAccessSignature sr=h&sig=x&se=soon",
        "SharedAccessSignature sr=h&sig=x&se=-1",
        "SharedAccessSignature sr=h&sig=x&se=" + "9" * 40,
        "SharedAccessSignature sr=&sig=x&se=1",
    ],
)
def test_what_is_no_signature_is_refused(text):
    with pytest.raises(ValueError, match="shared access signature"):
        parse_sas(text)


def test_signing_with_what_is_no_key_is_refused():
    with pytest.raises(ValueError, match="not base64"):
        render_sas("h", "not base64", 1)


@given(
    st.text(min_size=1, max_size=40), st.integers(0, 10**15 - 1), st.none() | st.text(min_size=1, max_size=9)
)
def test_any_resource_is_signed_and_read_back(resource, expires_at, policy):
    sas = parse_sas(render_sas(resource, KEY, expires_at, policy))
    assert (sas.resource, sas.expires_at, sas.policy) == (resource, expires_at, policy)
    assert is_signed_by(sas, KEY)
    assert not is_signed_by(sas, OTHER)


@given(st.text(max_size=80) | st.text("&=%srsigekn0123SAS ", max_size=80), st.booleans())
def test_any_text_is_a_signature_of_nobody_or_none_at_all(text, whole):
    text = text if whole else f"SharedAccessSignature sr=h&sig=x&se=1&{text}"
    with suppress(ValueError):
        assert not is_signed_by(parse_sas(text), KEY)


@given(st.data())
def test_a_signature_with_other_characters_is_not_one_for_another_resource_or_time(data):
    given_text = render_sas("h/devices/d", KEY, 1795400000)
    changed = list(given_text)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed) - 1))
        changed[at] = data.draw(st.sampled_from("&=%/+aZ09 \x00é"))
    with suppress(ValueError):
        sas = parse_sas("".join(changed))
        if is_signed_by(sas, KEY):
            assert (sas.resource, sas.expires_at, sas.policy) == ("h/devices/d", 1795400000, None)
