"""A device's life, by azure-iot-device: connection, twin, methods."""

import asyncio
import queue
import threading

from azure.iot.device import exceptions
from azure.iot.device.aio import IoTHubDeviceClient as AsyncDeviceClient
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties
from harness import (
    answer_methods,
    becomes,
    check,
    check_here,
    closing,
    patches,
    raised,
    same,
    take,
)


def state(place, made):
    return place.registry.get_device(made.device_id).connection_state


def desire(place, made, **values):
    """The version of the desired properties after the service's patch."""
    twin = place.registry.update_twin(made.device_id, Twin(properties=TwinProperties(desired=values)), "*")
    return twin.properties.desired["$version"]


def reported(place, made):
    section = place.registry.get_twin(made.device_id).properties.reported
    return {name: value for name, value in section.items() if not name.startswith("$")}


def refused(client, patch):
    """The hub refuses the report; the client wraps what it was told."""
    error = raised(exceptions.ClientError, client.patch_twin_reported_properties, patch)
    same(type(error.__cause__), exceptions.ServiceError)
    same(any(status in str(error.__cause__) for status in ("400", "413")), True)


@check
def a_device_connects_and_the_hub_knows(place):
    made = place.device()
    with place.connected(made) as client:
        same(client.connected, True)
        place.settles(lambda: state(place, made), "Connected")
    becomes(lambda: state(place, made), "Disconnected")


@check
def a_device_comes_back_after_it_left(place):
    made = place.device()
    with place.connected(made) as client:
        client.disconnect()
        same(client.connected, False)
        becomes(lambda: state(place, made), "Disconnected")
        client.connect()
        same(client.connected, True)
        same(client.get_twin()["desired"]["$version"], 1)


@check
def a_device_sees_its_twin(place):
    made = place.device()
    desire(place, made, a={"b": 1})
    place.registry.update_twin(made.device_id, Twin(tags={"secret": 1}), "*")
    with place.connected(made) as client:
        twin = client.get_twin()
    same(twin["desired"]["a"], {"b": 1})
    same((twin["desired"]["$version"], twin["reported"]["$version"]), (2, 1))
    same("tags" in twin, False)


@check
def a_device_reports(place):
    made = place.device()
    with place.connected(made) as client:
        client.patch_twin_reported_properties({"a": {"b": 1, "c": 2}, "d": "ü"})
        same(reported(place, made), {"a": {"b": 1, "c": 2}, "d": "ü"})
        client.patch_twin_reported_properties({"a": {"b": None}, "d": None})
        same(reported(place, made), {"a": {"c": 2}})
        same(client.get_twin()["reported"]["$version"], 3)


@check
def a_report_that_is_too_deep_is_refused(place):
    deep = 1
    for _ in range(11):
        deep = {"a": deep}
    made = place.device()
    with place.connected(made) as client:
        refused(client, {"a": deep})
        client.patch_twin_reported_properties({"still": "here"})
    same(reported(place, made), {"still": "here"})


@check
def a_report_over_32_kb_is_refused(place):
    made = place.device()
    with place.connected(made) as client:
        big = {f"k{n}": "x" * 3000 for n in range(12)}
        refused(client, big)
    same(reported(place, made), {})


@check
def a_device_is_told_its_desired_patch(place):
    made = place.device()
    with place.connected(made) as client:
        told = patches(client)
        version = desire(place, made, speed=1, gone=None)
        same(take(told), {"speed": 1, "gone": None, "$version": version})


@check
def patches_come_in_order(place):
    made = place.device()
    with place.connected(made) as client:
        told = patches(client)
        versions = [desire(place, made, n=number) for number in range(5)]
        same([take(told) for _ in versions], [{"n": n, "$version": v} for n, v in enumerate(versions)])


@check
def a_replaced_twin_is_told(place):
    made = place.device()
    desire(place, made, old=1)
    with place.connected(made) as client:
        told = patches(client)
        new = Twin(tags={}, properties=TwinProperties(desired={"new": 2}))
        place.registry.replace_twin(made.device_id, new, "*")
        patch = take(told)
        same((patch["new"], patch["$version"]), (2, 3))
        same({name for name in client.get_twin()["desired"] if not name.startswith("$")}, {"new"})


@check
def a_change_of_tags_is_not_told(place):
    made = place.device()
    with place.connected(made) as client:
        told = patches(client)
        place.registry.update_twin(made.device_id, Twin(tags={"a": 1}), "*")
        version = desire(place, made, after=1)
        same(take(told), {"after": 1, "$version": version})


@check
def patches_are_not_told_to_another_device(place):
    one, other = place.device(), place.device()
    with place.connected(one) as first, place.connected(other) as second:
        told, foreign = patches(first), patches(second)
        desire(place, one, mine=1)
        desire(place, other, theirs=2)
        same("mine" in take(told), True)
        same("theirs" in take(foreign), True)
        same((told.empty(), foreign.empty()), (True, True))


@check
def a_device_told_nothing_more_hears_nothing_more(place):
    made = place.device()
    with place.connected(made) as client:
        told = patches(client)
        desire(place, made, a=1)
        take(told)
        client.on_twin_desired_properties_patch_received = None
        desire(place, made, a=2)
        same(client.get_twin()["desired"]["a"], 2)
        same(told.empty(), True)


@check
def a_patch_made_while_away_is_told_on_return(place):
    made = place.device()
    with place.connected(made) as client:
        told = patches(client)
        desire(place, made, n=1)
        take(told)
        client.disconnect()
        version = desire(place, made, n=2)
        client.connect()
        same(take(told, lambda patch: patch["$version"] == version)["n"], 2)


@check
def methods_are_answered_again_after_it_left(place):
    made = place.device()
    with place.answering(made) as client:
        ask = CloudToDeviceMethod(method_name="echo", payload=1, connect_timeout_in_seconds=20)
        same(place.registry.invoke_device_method(made.device_id, ask).payload, {"echo": 1})
        client.disconnect()
        client.connect()
        same(place.registry.invoke_device_method(made.device_id, ask).payload, {"echo": 1})


@check
def a_second_connection_ends_the_first(place):
    made = place.device()
    gone = threading.Event()
    with place.connected(made, connection_retry=False) as first:
        first.on_connection_state_change = lambda: first.connected or gone.set()
        with place.connected(made) as second:
            same(gone.wait(20), True)
            same((first.connected, second.connected), (False, True))
            same(second.get_twin()["desired"]["$version"], 1)


@check
def a_device_that_is_deleted_is_dropped(place):
    made = place.device()
    gone = threading.Event()
    with place.connected(made, connection_retry=False) as client:
        client.on_connection_state_change = lambda: client.connected or gone.set()
        place.registry.delete_device(made.device_id)
        same(gone.wait(60), True)


@check
def a_device_that_is_disabled_is_dropped(place):
    made = place.device()
    gone = threading.Event()
    keys = made.authentication.symmetric_key
    with place.connected(made, connection_retry=False) as client:
        client.on_connection_state_change = lambda: client.connected or gone.set()
        place.registry.update_device_with_sas(
            made.device_id, "*", keys.primary_key, keys.secondary_key, "disabled"
        )
        same(gone.wait(60), True)
        raised(exceptions.CredentialError, client.connect)


@check
def a_device_made_anew_has_nothing_of_the_old(place):
    made = place.device()
    desire(place, made, old=1)
    with place.connected(made) as client:
        patches(client)
        client.patch_twin_reported_properties({"old": 1})
    place.registry.delete_device(made.device_id)
    again = place.registry.create_device_with_sas(made.device_id, "", "", "enabled")
    with place.connected(again) as client:
        twin = client.get_twin()
    same((twin["desired"]["$version"], twin["reported"]["$version"]), (1, 1))
    same(("old" in twin["desired"], "old" in twin["reported"]), (False, False))


@check
def a_device_with_a_model_connects(place):
    made = place.device()
    with place.connected(made, product_info="dtmi:com:example:Thing;1") as client:
        same(client.get_twin()["desired"]["$version"], 1)


@check
def a_device_without_auto_connect_waits_to_be_told(place):
    made = place.device()
    with closing(place.client(made, auto_connect=False)) as client:
        raised(exceptions.NoConnectionError, client.send_message, "early")
        client.connect()
        same(client.get_twin()["desired"]["$version"], 1)


@check
def an_asynchronous_client_lives_alike(place):
    made = place.device()

    async def live():
        client = AsyncDeviceClient.create_from_connection_string(place.connection(made), **place.options())
        await client.connect()
        try:
            told = queue.Queue()

            async def on_patch(patch):
                told.put(patch)

            client.on_twin_desired_properties_patch_received = on_patch
            await client.patch_twin_reported_properties({"by": "async"})
            version = await asyncio.to_thread(desire, place, made, a=1)
            patch = await asyncio.to_thread(take, told)
            same(patch, {"a": 1, "$version": version})
            return await client.get_twin()
        finally:
            await client.shutdown()

    twin = asyncio.run(live())
    same((twin["reported"]["by"], reported(place, made)), ("async", {"by": "async"}))


@check
def a_device_answers_while_it_is_told_patches(place):
    made = place.device()
    with place.connected(made) as client:
        told = patches(client)
        answer_methods(client)
        ask = CloudToDeviceMethod(method_name="echo", payload="x", connect_timeout_in_seconds=20)
        for number in range(3):
            desire(place, made, n=number)
            same(place.registry.invoke_device_method(made.device_id, ask).payload, {"echo": "x"})
        same([take(told)["n"] for _ in range(3)], [0, 1, 2])


@check_here
def a_web_socket_is_refused_and_not_left_hanging(place):
    made = place.device()
    with closing(place.client(made, websockets=True)) as client:
        raised(exceptions.ConnectionFailedError, client.connect)
