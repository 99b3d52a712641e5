"""What a device shows to be let in, by azure-iot-device."""

import base64
import hashlib
import hmac
import threading
import time
import urllib.parse

from azure.iot.device import IoTHubDeviceClient, exceptions
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties
from harness import answer_methods, becomes, check, closing, patches, raised, same, take

RENEWAL_S = 120
"""How long before its end the client renews a token."""


def token(place, made, life_s):
    """A token of the device's own, as an application makes it."""
    resource = urllib.parse.quote(f"{place.host}/devices/{made.device_id}", safe="")
    end = int(time.time()) + life_s
    key = base64.b64decode(made.authentication.symmetric_key.primary_key)
    digest = hmac.new(key, f"{resource}\n{end}".encode(), hashlib.sha256).digest()
    signature = urllib.parse.quote(base64.b64encode(digest), safe="")
    return f"SharedAccessSignature sr={resource}&sig={signature}&se={end}"


def by_token(place, made, life_s, **more):
    options = place.options(**more)
    if place.gateway:
        options["gateway_hostname"] = place.gateway
    return IoTHubDeviceClient.create_from_sastoken(token(place, made, life_s), **options)


@check
def the_secondary_key_opens(place):
    made = place.device()
    with place.connected(made, made.authentication.symmetric_key.secondary_key) as client:
        same(client.get_twin()["desired"]["$version"], 1)


@check
def a_wrong_key_is_the_clients_credential_error(place):
    made = place.device()
    with closing(place.client(made, "A" * 43 + "=")) as client:
        raised(exceptions.CredentialError, client.connect)


@check
def another_devices_key_is_a_credential_error(place):
    made, other = place.device(), place.device()
    with closing(place.client(made, other.authentication.symmetric_key.primary_key)) as client:
        raised(exceptions.CredentialError, client.connect)


@check
def an_unknown_device_is_a_credential_error(place):
    made = place.device()
    place.registry.delete_device(made.device_id)
    with closing(place.client(made)) as client:
        raised(exceptions.CredentialError, client.connect)


@check
def a_disabled_device_is_a_credential_error(place):
    made = place.device(status="disabled")
    with closing(place.client(made)) as client:
        raised(exceptions.CredentialError, client.connect)


@check
def a_device_whose_key_was_changed_is_a_credential_error(place):
    made = place.device()
    new = base64.b64encode(b"n" * 32).decode()
    place.registry.update_device_with_sas(made.device_id, "*", new, new, "enabled")
    with closing(place.client(made)) as client:
        raised(exceptions.CredentialError, client.connect)
    with place.connected(made, new) as client:
        same(client.connected, True)


@check
def a_key_without_a_connection_string_opens(place):
    made = place.device()
    key = made.authentication.symmetric_key.primary_key
    client = IoTHubDeviceClient.create_from_symmetric_key(
        key, place.gateway or place.host, made.device_id, **place.options()
    )
    with closing(client):
        client.connect()
        same(client.get_twin()["desired"]["$version"], 1)


@check
def a_token_made_by_the_application_opens(place):
    made = place.device()
    with closing(by_token(place, made, 600)) as client:
        client.connect()
        same(client.get_twin()["desired"]["$version"], 1)


@check
def a_token_whose_end_was_moved_is_refused(place):
    made = place.device()
    good = token(place, made, 600)
    end = good.rsplit("=", 1)[1]
    forged = good.replace(end, str(int(end) + 60))
    options = place.options()
    if place.gateway:
        options["gateway_hostname"] = place.gateway
    with closing(IoTHubDeviceClient.create_from_sastoken(forged, **options)) as client:
        raised(exceptions.CredentialError, client.connect)


@check
def the_application_gives_a_new_token_when_asked(place):
    made = place.device()
    asked = threading.Event()
    with closing(by_token(place, made, RENEWAL_S + 3)) as client:
        client.on_new_sastoken_required = asked.set
        client.connect()
        told = patches(client)
        same(asked.wait(30), True)
        client.update_sastoken(token(place, made, 900))
        becomes(lambda: client.connected, True)
        desired = Twin(properties=TwinProperties(desired={"after": 1}))
        place.registry.update_twin(made.device_id, desired, "*")
        take(told, lambda patch: patch.get("after") == 1)


@check
def a_short_token_is_renewed_and_nothing_is_lost(place):
    made = place.device()
    changes = []
    back = threading.Event()

    def on_change():
        changes.append(client.connected)
        if changes[-2:] == [False, True]:
            back.set()

    with closing(place.client(made, sastoken_ttl=RENEWAL_S + 3)) as client:
        client.connect()
        told = patches(client)
        answer_methods(client)
        client.on_connection_state_change = on_change
        same(back.wait(30), True)
        desired = Twin(properties=TwinProperties(desired={"after": 1}))
        place.registry.update_twin(made.device_id, desired, "*")
        take(told, lambda patch: patch.get("after") == 1)
        ask = CloudToDeviceMethod(method_name="echo", payload=2, connect_timeout_in_seconds=10)
        same(place.registry.invoke_device_method(made.device_id, ask).payload, {"echo": 2})
