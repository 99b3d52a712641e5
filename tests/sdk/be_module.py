"""Is a module (and its device) by azure-iot-device 2.14; run by an interpreter that has it.

Arguments: the hub's CA file, the module's and the device's connection strings. Writes what happens to it
as JSON lines; answers the method `echo`; ends when its standard input does.
"""

import json
import sys
from pathlib import Path

from azure.iot.device import IoTHubDeviceClient, IoTHubModuleClient, MethodResponse


def say(event, **facts):
    print(json.dumps({"event": event, **facts}), flush=True)


def answer_methods(client):
    def on_method(request):
        client.send_method_response(
            MethodResponse.create_from_method_request(request, 200, {"echo": request.payload})
        )

    client.on_method_request_received = on_method


def main(ca_file, module_string, device_string):
    ca = Path(ca_file).read_text()
    options = {"server_verification_cert": ca, "connection_retry_interval": 1}
    module = IoTHubModuleClient.create_from_connection_string(module_string, **options)
    device = IoTHubDeviceClient.create_from_connection_string(device_string, **options)
    module.on_connection_state_change = lambda: say("connection", connected=module.connected)
    module.connect()
    device.connect()
    say("twin", twin=module.get_twin())
    module.on_twin_desired_properties_patch_received = lambda patch: say("patch", patch=patch)
    answer_methods(module)
    answer_methods(device)
    module.patch_twin_reported_properties({"sdk": {"version": "2.14"}})
    module.send_message("telemetry")
    say("ready")
    for line in sys.stdin:
        module.patch_twin_reported_properties(json.loads(line))
        say("reported")
    module.shutdown()
    device.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
