"""Drives every REST route the hub has with azure-iot-hub 2.7; run by an interpreter that has it.

Arguments: the service connection string, a device and a module that answer the method `echo`. Prints `done`
when all of it held; fails with a traceback otherwise. REQUESTS_CA_BUNDLE names the hub's authority.
"""

import sys

from azure.iot.hub import IoTHubConfigurationManager, IoTHubRegistryManager
from azure.iot.hub.models import (
    CloudToDeviceMethod,
    Configuration,
    ConfigurationContent,
    QuerySpecification,
    Twin,
    TwinProperties,
)
from msrest.exceptions import HttpOperationError


def refusal(call, *arguments):
    """(status, error name) of a call that the hub must refuse."""
    try:
        call(*arguments)
    except HttpOperationError as error:
        return error.response.status_code, error.response.headers["iothub-errorcode"]
    raise AssertionError(f"{call} was not refused")


def devices(hub):
    made = hub.create_device_with_sas("sdk-1", "", "", "enabled", iot_edge=True)
    assert made.device_id == "sdk-1"
    assert made.capabilities.iot_edge
    assert made.authentication.symmetric_key.primary_key
    assert made.device_scope.startswith("ms-azure-iot-edge://sdk-1-")
    assert refusal(hub.create_device_with_sas, "sdk-1", "", "", "enabled") == (409, "DeviceAlreadyExists")
    assert hub.get_device("sdk-1").generation_id == made.generation_id
    updated = hub.update_device_with_sas("sdk-1", made.etag, "", "", "disabled", iot_edge=True)
    assert updated.status == "disabled"
    assert refusal(hub.update_device_with_sas, "sdk-1", made.etag, "", "", "enabled")[0] == 412
    hub.update_device_with_sas("sdk-1", "*", "", "", "enabled", iot_edge=True)
    assert "sdk-1" in [device.device_id for device in hub.get_devices()]
    counted = hub.get_device_registry_statistics()
    assert counted.total_device_count == counted.enabled_device_count >= 2
    assert hub.get_service_statistics().connected_device_count == 1


def modules(hub):
    made = hub.create_module_with_sas("sdk-1", "extra", "", "", "")
    assert hub.get_module("sdk-1", "extra").authentication.symmetric_key.primary_key
    names = [module.module_id for module in hub.get_modules("sdk-1")]
    assert names == ["$edgeAgent", "$edgeHub", "extra"]
    hub.update_module_with_sas("sdk-1", "extra", "", made.etag, "", "")
    hub.delete_module("sdk-1", "extra")
    assert refusal(hub.get_module, "sdk-1", "extra") == (404, "ModuleNotFound")


def twins(hub):
    patch = Twin(tags={"env": "sdk"}, properties=TwinProperties(desired={"x": {"y": 1}}))
    twin = hub.update_twin("sdk-1", patch, "*")
    assert hub.get_twin("sdk-1").tags == {"env": "sdk"}
    assert twin.properties.desired["x"] == {"y": 1}
    assert refusal(hub.update_twin, "sdk-1", patch, "MQ==") == (412, "PreconditionFailed")
    twin = hub.update_twin("sdk-1", patch, twin.etag)
    twin = hub.replace_twin("sdk-1", Twin(tags={"env": "sdk"}, properties=TwinProperties(desired={})), "*")
    assert "x" not in twin.properties.desired
    twin = hub.update_module_twin("sdk-1", "$edgeHub", Twin(properties=TwinProperties(desired={"a": 1})), "*")
    assert twin.module_id == "$edgeHub"
    twin = hub.replace_module_twin(
        "sdk-1", "$edgeHub", Twin(properties=TwinProperties(desired={"b": 1})), "*"
    )
    assert "a" not in hub.get_module_twin("sdk-1", "$edgeHub").properties.desired
    for number in range(3):
        hub.create_device_with_sas(f"sdk-leaf-{number}", "", "", "enabled")


def queries(hub):
    wanted = QuerySpecification(query="SELECT * FROM devices WHERE tags.env = 'sdk'")
    page = hub.query_iot_hub(wanted)
    assert [twin.device_id for twin in page.items] == ["sdk-1"]
    assert page.continuation_token is None
    everything = QuerySpecification(query="select * from devices where deviceId != ''")
    seen, token = [], None
    while True:
        page = hub.query_iot_hub(everything, token, 2)
        assert len(page.items) <= 2
        seen += [twin.device_id for twin in page.items]
        token = page.continuation_token
        if not token:
            break
    assert len(seen) == len(set(seen)) >= 5
    assert refusal(hub.query_iot_hub, QuerySpecification(query="select")) == (400, "ArgumentInvalid")


def configurations(hub, manager):
    base = Configuration(
        id="sdk-base",
        schema_version="2.0",
        target_condition="tags.env = 'sdk'",
        priority=1,
        labels={"by": "sdk"},
        content=ConfigurationContent(
            modules_content={"$edgeAgent": {"properties.desired": {"modules": {"m": {"type": "docker"}}}}}
        ),
    )
    made = manager.create_configuration(base)
    assert made.system_metrics.results["appliedCount"] == 1
    assert hub.get_module("sdk-1", "m").managed_by == "IotEdge"
    assert hub.get_module_twin("sdk-1", "$edgeAgent").properties.desired["modules"]["m"]["type"] == "docker"
    assert [one.id for one in manager.get_configurations()] == ["sdk-base"]
    shown = manager.get_configuration("sdk-base")
    assert (shown.labels, shown.priority, shown.target_condition) == ({"by": "sdk"}, 1, "tags.env = 'sdk'")
    shown.target_condition = "tags.env = 'other'"
    updated = manager.update_configuration(shown, f'"{shown.etag}"')
    assert updated.system_metrics.results["targetedCount"] == 0
    manager.delete_configuration("sdk-base")
    assert refusal(manager.get_configuration, "sdk-base") == (404, "ConfigurationNotFound")


def methods(hub, device, module):
    asked = CloudToDeviceMethod(method_name="echo", payload={"n": [1, None]}, response_timeout_in_seconds=10)
    for answer in (
        hub.invoke_device_module_method(device, module, asked),
        hub.invoke_device_method(device, asked),
    ):
        assert (answer.status, answer.payload) == (200, {"echo": {"n": [1, None]}})
    nobody = CloudToDeviceMethod(method_name="echo", payload=None)
    assert refusal(hub.invoke_device_method, "sdk-1", nobody) == (404, "DeviceNotOnline")


def main(connection_string, device, module):
    hub = IoTHubRegistryManager.from_connection_string(connection_string)
    manager = IoTHubConfigurationManager.from_connection_string(connection_string)
    devices(hub)
    modules(hub)
    twins(hub)
    queries(hub)
    configurations(hub, manager)
    methods(hub, device, module)
    for name in ("sdk-1", "sdk-leaf-0", "sdk-leaf-1", "sdk-leaf-2"):
        hub.delete_device(name)
    assert refusal(hub.get_device, "sdk-1") == (404, "DeviceNotFound")
    print("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
