"""A module's life, by azure-iot-device: by connection string, and in the simulator's environment."""

import contextlib
import os

from azure.iot.device import IoTHubModuleClient, exceptions
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties
from harness import answer_methods, check, check_here, closing, patches, raised, same, take


def module(place):
    return place.module(place.device(edge=True).device_id)


def desire(place, made, **values):
    twin = Twin(properties=TwinProperties(desired=values))
    said = place.registry.update_module_twin(made.device_id, made.module_id, twin, "*")
    return said.properties.desired["$version"]


def reported(place, made):
    section = place.registry.get_module_twin(made.device_id, made.module_id).properties.reported
    return {name: value for name, value in section.items() if not name.startswith("$")}


@contextlib.contextmanager
def simulated(place, made):
    """A module client made from the variables that the simulator sets, connected."""
    variables = {
        "EdgeHubConnectionString": place.connection(made),
        "EdgeModuleCACertificateFile": place.ca_file,
    }
    os.environ.update(variables)
    try:
        client = IoTHubModuleClient.create_from_edge_environment(connection_retry_interval=1)
    finally:
        for name in variables:
            del os.environ[name]
    with closing(client):
        client.connect()
        yield client


def lives(place, made, client):
    """Twin, report, patch and method work."""
    same(client.get_twin()["desired"]["$version"], 1)
    told = patches(client)
    version = desire(place, made, speed=3)
    same(take(told), {"speed": 3, "$version": version})
    client.patch_twin_reported_properties({"speed": 3})
    same(reported(place, made), {"speed": 3})
    answer_methods(client)
    ask = CloudToDeviceMethod(method_name="echo", payload=[1], connect_timeout_in_seconds=20)
    said = place.registry.invoke_device_module_method(made.device_id, made.module_id, ask)
    same((said.status, said.payload), (200, {"echo": [1]}))


@check
def a_module_lives_by_its_connection_string(place):
    made = module(place)
    with place.connected(made) as client:
        lives(place, made, client)


@check_here
def a_module_lives_in_the_simulators_environment(place):
    made = module(place)
    with simulated(place, made) as client:
        lives(place, made, client)


@check
def the_hub_knows_that_a_module_is_connected(place):
    made = module(place)

    def state():
        return place.registry.get_module(made.device_id, "m").connection_state

    with place.connected(made):
        place.settles(state, "Connected")


@check
def a_module_has_its_own_twin_and_not_its_devices(place):
    made = module(place)
    twin = Twin(properties=TwinProperties(desired={"devices": 1}))
    place.registry.update_twin(made.device_id, twin, "*")
    with place.connected(made) as client:
        same("devices" in client.get_twin()["desired"], False)
        client.patch_twin_reported_properties({"mine": 1})
    same("mine" in place.registry.get_twin(made.device_id).properties.reported, False)


@check
def a_device_and_its_module_are_connected_together(place):
    device = place.device()
    made = place.module(device.device_id)
    with place.answering(device), place.answering(made):
        ask = CloudToDeviceMethod(method_name="echo", payload="d", connect_timeout_in_seconds=20)
        same(place.registry.invoke_device_method(device.device_id, ask).payload, {"echo": "d"})
        ask.payload = "m"
        said = place.registry.invoke_device_module_method(device.device_id, "m", ask)
        same(said.payload, {"echo": "m"})


@check
def a_devices_key_does_not_open_for_its_module(place):
    device = place.device()
    made = place.module(device.device_id)
    with closing(place.client(made, device.authentication.symmetric_key.primary_key)) as client:
        raised(exceptions.CredentialError, client.connect)


@check
def a_modules_secondary_key_opens(place):
    made = module(place)
    with place.connected(made, made.authentication.symmetric_key.secondary_key) as client:
        same(client.connected, True)


@check
def a_module_of_a_disabled_device_is_a_credential_error(place):
    device = place.device()
    made = place.module(device.device_id)
    keys = device.authentication.symmetric_key
    place.registry.update_device_with_sas(
        device.device_id, "*", keys.primary_key, keys.secondary_key, "disabled"
    )
    with closing(place.client(made)) as client:
        raised(exceptions.CredentialError, client.connect)
