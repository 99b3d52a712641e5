// A module as its author writes it for IoT Edge: it knows Microsoft's SDK and nothing of who runs it.
const { ModuleClient } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');

async function main() {
  const client = await ModuleClient.fromEnvironment(Mqtt);
  await client.open();
  const twin = await client.getTwin();
  await new Promise((resolve, reject) => {
    twin.properties.reported.update({ language: 'node' }, (error) => (error ? reject(error) : resolve()));
  });
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
