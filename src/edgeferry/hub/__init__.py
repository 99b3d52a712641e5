"""The local IoT Hub: a server that speaks Azure IoT Hub's service REST and device MQTT over TLS.

The only asynchronous room. State changes happen between two awaits, inside one transaction of the store;
what clients are told of them follows the commit. Knows no client of its own: who talks to it is unknown.
"""
