"""A module as its author writes it for IoT Edge: it knows azure-iot-device and nothing of who runs it.

It says at the hub what it saw; method `again` makes it begin anew, in the same process.
"""

import os
import threading

from azure.iot.device import IoTHubModuleClient, Message, MethodResponse

again = threading.Event()


def main():
    rounds = 0
    while True:
        rounds += 1
        live(rounds)


def live(rounds):
    client = IoTHubModuleClient.create_from_edge_environment()

    def answer(request):
        said = {"echo": request.payload}
        client.send_method_response(MethodResponse.create_from_method_request(request, 200, said))
        if request.name == "again":
            again.set()

    client.on_method_request_received = answer
    client.connect()
    twin = client.get_twin()
    message = Message(f'{{"round": {rounds}}}', content_encoding="utf-8", content_type="application/json")
    client.send_message_to_output(message, "rounds")
    seen = {"round": rounds, "user": os.getuid(), "colour": twin["desired"]["colour"]}
    client.patch_twin_reported_properties(seen)
    again.wait()
    again.clear()
    client.shutdown()


main()
