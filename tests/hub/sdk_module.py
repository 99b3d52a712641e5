"""Is a module by azure-iot-device, run by an interpreter that has it: arguments are the hub's CA file and the
module's connection string. Writes the patches it is told as JSON lines; answers methods with what they were
given; lives until it is ended."""

import json
import sys
import threading
from pathlib import Path

from azure.iot.device import IoTHubModuleClient, MethodResponse


def say(event, **facts):
    print(json.dumps({"event": event, **facts}), flush=True)


def main(ca_file, connection_string):
    module = IoTHubModuleClient.create_from_connection_string(
        connection_string, server_verification_cert=Path(ca_file).read_text(), connection_retry_interval=1
    )

    def answer(request):
        response = MethodResponse.create_from_method_request(request, 200, {"echo": request.payload})
        module.send_method_response(response)

    module.on_twin_desired_properties_patch_received = lambda patch: say("patch", patch=patch)
    module.on_method_request_received = answer
    module.connect()
    module.get_twin()
    say("ready")
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
