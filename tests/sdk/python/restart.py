"""The hub is killed and comes back: what azure-iot-device has subscribed to goes on by itself."""

from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties
from harness import answer_methods, ask, becomes, check_here, patches, same, take


@check_here
def everything_goes_on_after_the_hub_was_killed(place):
    device = place.device()
    made = place.module(device.device_id)
    with place.connected(device) as client, place.connected(made) as module:
        told, heard = patches(client), patches(module)
        answer_methods(client)
        answer_methods(module)
        desire(place, device, n=1)
        same(take(told)["n"], 1)
        ask("kill")
        becomes(lambda: (client.connected, module.connected), (False, False))
        ask("start")
        becomes(lambda: (client.connected, module.connected), (True, True))

        version = desire(place, device, n=2)
        same(take(told, lambda patch: patch["$version"] == version)["n"], 2)
        twin = Twin(properties=TwinProperties(desired={"n": 3}))
        place.registry.update_module_twin(device.device_id, "m", twin, "*")
        same(take(heard, lambda patch: "n" in patch)["n"], 3)

        asked = CloudToDeviceMethod(method_name="echo", payload=1, connect_timeout_in_seconds=10)
        same(place.registry.invoke_device_method(device.device_id, asked).payload, {"echo": 1})
        said = place.registry.invoke_device_module_method(device.device_id, "m", asked)
        same(said.payload, {"echo": 1})
        client.patch_twin_reported_properties({"after": "kill"})
        same(place.registry.get_twin(device.device_id).properties.reported["after"], "kill")


def desire(place, device, **values):
    twin = Twin(properties=TwinProperties(desired=values))
    said = place.registry.update_twin(device.device_id, twin, "*")
    return said.properties.desired["$version"]
