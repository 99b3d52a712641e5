"""Direct methods, asked by azure-iot-hub, answered by azure-iot-device."""

import threading
import time

from azure.iot.hub.models import CloudToDeviceMethod
from harness import answer_methods, check, check_here, closing, refusal, same


def method(name="echo", payload=None, **timeouts):
    return CloudToDeviceMethod(method_name=name, payload=payload, **timeouts)


@check
def a_device_answers(place):
    made = place.device()
    with place.answering(made):
        said = place.registry.invoke_device_method(made.device_id, method(payload={"n": [1, None, "ü"]}))
    same((said.status, said.payload), (200, {"echo": {"n": [1, None, "ü"]}}))


@check
def a_module_answers(place):
    made = place.module(place.device().device_id)
    with place.answering(made):
        said = place.registry.invoke_device_module_method(made.device_id, "m", method(payload="hello"))
    same((said.status, said.payload), (200, {"echo": "hello"}))


@check
def the_status_is_the_devices_own(place):
    made = place.device()
    with place.answering(made):
        said = place.registry.invoke_device_method(made.device_id, method("teapot"))
    same((said.status, said.payload), (418, {"short": "stout"}))


@check
def payloads_may_be_missing(place):
    made = place.device()
    with place.answering(made):
        asked = place.registry.invoke_device_method(made.device_id, method())
        answered = place.registry.invoke_device_method(made.device_id, method("nothing", payload=1))
    # The client sends "" for no payload.
    same((asked.payload, answered.status, answered.payload), ({"echo": ""}, 204, None))


@check
def payloads_of_100_kb_go_both_ways(place):
    made = place.device()
    text = "x" * 100_000
    with place.answering(made):
        said = place.registry.invoke_device_method(made.device_id, method(payload=text))
    same(said.payload == {"echo": text}, True)


@check
def a_payload_over_128_kb_is_refused(place):
    made = place.device()
    with place.answering(made):
        asked = method(payload="x" * 132_000)
        same(refusal(place.registry.invoke_device_method, made.device_id, asked)[0] in (400, 413), True)


@check
def a_name_unknown_to_the_device_is_its_own_answer(place):
    made = place.device()
    with place.answering(made):
        said = place.registry.invoke_device_method(made.device_id, method("unheardOf"))
    same((said.status, said.payload), (404, {"unknown": "unheardOf"}))


@check
def several_methods_at_once_get_their_own_answers(place):
    made = place.device()
    said = {}

    def call(number):
        said[number] = place.registry.invoke_device_method(made.device_id, method(payload=number)).payload

    with place.answering(made):
        threads = [threading.Thread(target=call, args=(number,)) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    same(said, {number: {"echo": number} for number in range(5)})


@check
def a_device_that_is_away_is_not_online(place):
    call = place.registry.invoke_device_method
    same(refusal(call, place.device().device_id, method()), (404, "DeviceNotOnline"))


@check
def a_device_that_left_is_not_online(place):
    made = place.device()
    with place.answering(made):
        same(place.registry.invoke_device_method(made.device_id, method()).status, 200)
    same(refusal(place.registry.invoke_device_method, made.device_id, method()), (404, "DeviceNotOnline"))


@check
def a_module_that_is_away_is_not_online(place):
    made = place.module(place.device().device_id)
    call = place.registry.invoke_device_module_method
    same(refusal(call, made.device_id, "m", method()), (404, "DeviceNotOnline"))


@check
def a_device_that_is_silent_times_out(place):
    made = place.device()
    with place.answering(made):
        began = time.monotonic()
        asked = method("silent", response_timeout_in_seconds=5)
        same(refusal(place.registry.invoke_device_method, made.device_id, asked), (504, "GatewayTimeout"))
        same(time.monotonic() - began >= 4, True)


@check
def a_device_that_comes_in_time_answers(place):
    made = place.device()
    with closing(place.client(made)) as client:

        def come():
            answer_methods(client)

        timer = threading.Timer(1, come)
        timer.start()
        asked = method(payload="late", connect_timeout_in_seconds=30)
        said = place.registry.invoke_device_method(made.device_id, asked)
        timer.join()
    same(said.payload, {"echo": "late"})


@check
def methods_of_nothing_are_not_found(place):
    same(refusal(place.registry.invoke_device_method, place.name(), method())[0], 404)
    call = place.registry.invoke_device_module_method
    same(refusal(call, place.device().device_id, "m", method())[0], 404)


@check
def timeouts_out_of_bounds_are_refused(place):
    name = place.device().device_id
    call = place.registry.invoke_device_method
    for asked in (method(response_timeout_in_seconds=4), method(response_timeout_in_seconds=301)):
        same(refusal(call, name, asked)[0], 400)
    same(refusal(call, name, method(connect_timeout_in_seconds=301))[0], 400)


@check_here
def a_name_may_hold_blanks_and_slashes(place):
    made = place.device()
    with place.answering(made):
        said = place.registry.invoke_device_method(made.device_id, method("my method/1"))
    same(said.payload, {"unknown": "my method/1"})
