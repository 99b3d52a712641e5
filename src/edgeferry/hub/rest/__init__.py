"""The door for services: IoT Hub's service REST, as Azure's SDKs and CLI call it."""
