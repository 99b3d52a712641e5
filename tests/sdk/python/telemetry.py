"""Telemetry, by azure-iot-device; read back from our hub's own route, as Azure has Event Hubs there."""

import base64
import json

from azure.iot.device import Message
from harness import ask, check_here, raised, same


def text(message):
    """The body, which stands as base64 unless it is JSON and says so."""
    return base64.b64decode(message["body"]).decode()


@check_here
def a_message_comes_with_all_it_carries(place):
    made = place.device()
    message = Message("hot", message_id="id-1", content_encoding="utf-8", content_type="text/plain")
    message.correlation_id = "cor-1"
    message.user_id = "me"
    message.custom_properties = {"line": "2", "shift": "night"}
    with place.connected(made) as client:
        client.send_message(message)
    [came] = ask("messages", device=made.device_id)
    same((came["deviceId"], "moduleId" in came, text(came)), (made.device_id, False, "hot"))
    same(came["properties"], {"line": "2", "shift": "night"})
    wanted = {
        "messageId": "id-1",
        "correlationId": "cor-1",
        "userId": "me",
        "contentType": "text/plain",
        "contentEncoding": "utf-8",
    }
    same(came["systemProperties"], wanted)


@check_here
def json_stands_as_json(place):
    made = place.device()
    body = {"celsius": 180.5, "who": "Ü"}
    message = Message(json.dumps(body), content_encoding="utf-8", content_type="application/json")
    with place.connected(made) as client:
        client.send_message(message)
    [came] = ask("messages", device=made.device_id)
    same((came["encoding"], came["body"]), ("json", body))


@check_here
def properties_take_any_character(place):
    made = place.device()
    odd = {"a b": "c=d&e", "ü": "%2F/ +?#", "$x": "'\"", "empty": ""}
    message = Message("x")
    message.custom_properties = odd
    with place.connected(made) as client:
        client.send_message(message)
    [came] = ask("messages", device=made.device_id)
    same(came["properties"], odd)


@check_here
def messages_keep_their_order(place):
    made = place.device()
    with place.connected(made) as client:
        for number in range(10):
            client.send_message(str(number))
    came = ask("messages", device=made.device_id)
    same([text(one) for one in came], [str(number) for number in range(10)])
    numbers = [one["sequence"] for one in came]
    same(numbers, sorted(set(numbers)))


@check_here
def a_message_of_250_kb_comes_whole(place):
    made = place.device()
    body = "x" * 250_000
    with place.connected(made) as client:
        client.send_message(Message(body))
        raised(ValueError, client.send_message, Message("x" * 300_000))
    [came] = ask("messages", device=made.device_id)
    same(text(came) == body, True)


@check_here
def a_modules_output_is_named(place):
    made = place.module(place.device(edge=True).device_id)
    message = Message("seven")
    message.custom_properties = {"digit": "7"}
    with place.connected(made) as client:
        client.send_message_to_output(message, "digits")
        client.send_message("plain")
    named, plain = ask("messages", device=made.device_id)
    same((named["moduleId"], text(named), named["properties"]), ("m", "seven", {"digit": "7"}))
    same(named["systemProperties"]["outputName"], "digits")
    same((plain["moduleId"], "outputName" in plain["systemProperties"]), ("m", False))


@check_here
def messages_sent_before_the_hub_was_killed_are_kept(place):
    made = place.device()
    with place.connected(made) as client:
        client.send_message("kept")
        ask("kill")
        ask("start")
        same([text(one) for one in ask("messages", device=made.device_id)], ["kept"])
        client.send_message("after")
    same([text(one) for one in ask("messages", device=made.device_id)], ["kept", "after"])
