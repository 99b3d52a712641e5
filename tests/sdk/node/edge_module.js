// A module's life, by azure-iot-device: by connection string, and in the environment of Microsoft's simulator.
'use strict';

const { ModuleClient } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');
const {
  answerMethods, assert, becomes, check, checkHere, patches, plain, refusal, report, using,
} = require('./harness');

const module_ = async (place) => place.module(await place.edgeDevice());

/** A module client made from the variables that the simulator sets. */
async function simulated(place, made) {
  process.env.EdgeHubConnectionString = place.connection(made);
  process.env.EdgeModuleCACertificateFile = place.caFile;
  try {
    return await place.trusting(await ModuleClient.fromEnvironment(Mqtt));
  } finally {
    delete process.env.EdgeHubConnectionString;
    delete process.env.EdgeModuleCACertificateFile;
  }
}

/** Twin, report, patch and method work. */
async function lives(place, made, client) {
  const told = await patches(client);
  assert.equal(told.twin.properties.desired.$version, 1);
  const version = await place.desire(made, { speed: 3 });
  assert.deepEqual(await told.take(), { speed: 3, $version: version });
  await report(told.twin, { speed: 3 });
  assert.deepEqual(await place.reported(made), { speed: 3 });
  answerMethods(client);
  const said = await place.call(made, 'echo', [1]);
  assert.deepEqual([said.status, said.payload], [200, { echo: [1] }]);
}

check(async function a_module_lives_by_its_connection_string(place) {
  const made = await module_(place);
  await place.connected(made, (client) => lives(place, made, client));
});

checkHere(async function a_module_lives_in_the_simulators_environment(place) {
  const made = await module_(place);
  await using(await simulated(place, made), async (client) => {
    await client.open();
    await lives(place, made, client);
  });
});

check(async function the_hub_knows_that_a_module_is_connected(place) {
  const made = await module_(place);
  const state = async () => (await place.registry.getModule(made.deviceId, 'm')).responseBody.connectionState;
  await place.connected(made, () => place.settles(state, 'Connected'));
  await becomes(state, 'Disconnected');
});

check(async function a_module_has_its_own_twin_and_not_its_devices(place) {
  const device = await place.edgeDevice();
  const made = await place.module(device);
  await place.desire(device, { devices: 1 });
  await place.connected(made, async (client) => {
    const twin = await client.getTwin();
    assert.deepEqual(plain(twin.properties.desired), {});
    await report(twin, { mine: 1 });
  });
  assert.deepEqual(await place.reported(device), {});
});

check(async function a_devices_key_does_not_open_for_its_module(place) {
  const device = await place.device();
  const made = await place.module(device);
  const client = await place.deviceClient(made, device.authentication.symmetricKey.primaryKey);
  await using(client, async () => {
    assert.equal((await refusal(client.open())).name, 'UnauthorizedError');
  });
});

checkHere(async function a_module_calls_a_method_of_its_device(place) {
  const device = await place.edgeDevice();
  const made = await place.module(device);
  await place.connected(device, async (answering) => {
    answerMethods(answering);
    assert.equal((await place.call(device, 'teapot')).status, 418);
    await place.connected(made, async (client) => {
      const said = await client.invokeMethod(device.deviceId, { methodName: 'echo', payload: [1] });
      assert.deepEqual([said.status, said.payload], [200, { echo: [1] }]);
    });
  });
});
