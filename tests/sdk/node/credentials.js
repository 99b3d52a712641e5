// What a device shows to be let in, by azure-iot-device.
'use strict';

const { Client, SharedAccessKeyAuthenticationProvider, SharedAccessSignature } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');
const { answerMethods, assert, becomes, check, patches, refusal, using } = require('./harness');

/** Fails unless the client is refused at the door with its own error. */
async function isRefused(place, made, key) {
  await using(await place.deviceClient(made, key), async (client) => {
    const said = await refusal(client.open());
    assert.equal(said.name, 'UnauthorizedError');
    assert.match(said.message, /[Nn]ot authorized/);
  });
}

check(async function the_secondary_key_opens(place) {
  const made = await place.device();
  const version = async (client) => (await client.getTwin()).properties.desired.$version;
  assert.equal(await place.connected(made, version, made.authentication.symmetricKey.secondaryKey), 1);
});

check(async function a_wrong_key_is_the_clients_unauthorized_error(place) {
  await isRefused(place, await place.device(), Buffer.alloc(32).toString('base64'));
});

check(async function another_devices_key_is_an_unauthorized_error(place) {
  const [made, other] = [await place.device(), await place.device()];
  await isRefused(place, made, other.authentication.symmetricKey.primaryKey);
});

check(async function an_unknown_device_is_an_unauthorized_error(place) {
  const made = await place.device();
  await place.registry.delete(made.deviceId);
  await isRefused(place, made);
});

check(async function a_disabled_device_is_an_unauthorized_error(place) {
  await isRefused(place, await place.device({ status: 'disabled' }));
});

check(async function a_token_made_by_the_application_opens(place) {
  const made = await place.device();
  const end = Math.floor(Date.now() / 1000) + 600;
  const key = made.authentication.symmetricKey.primaryKey;
  const token = SharedAccessSignature.create(place.host, made.deviceId, key, end).toString();
  await using(await place.trusting(Client.fromSharedAccessSignature(token, Mqtt)), async (client) => {
    await client.open();
    assert.equal((await client.getTwin()).properties.desired.$version, 1);
  });
});

check(async function a_short_token_is_renewed_and_nothing_is_lost(place) {
  const made = await place.device();
  // Sixty seconds long, renewed when 57 of them are left.
  const provider = SharedAccessKeyAuthenticationProvider.fromConnectionString(place.connection(made), 60, 57);
  let renewed = 0;
  provider.on('newTokenAvailable', () => {
    renewed += 1;
  });
  await using(await place.trusting(Client.fromAuthenticationProvider(provider, Mqtt)), async (client) => {
    await client.open();
    const told = await patches(client);
    answerMethods(client);
    assert.deepEqual((await place.call(made, 'echo', 1)).payload, { echo: 1 });
    const [before, seen] = [renewed, (await place.shown(made)).connectionStateUpdatedTime];
    await becomes(async () => renewed > before, true);
    provider.stop();
    if (place.isHere) {
      const since = async () => (await place.shown(made)).connectionStateUpdatedTime;
      await becomes(async () => (await since()) !== seen, true);
    }
    // What is desired while it connects anew is not told later, so it is desired until it is told.
    let number = 0;
    await becomes(async () => {
      await place.desire(made, { after: (number += 1) });
      await new Promise((resolve) => setTimeout(resolve, 300));
      return told.kept.some((patch) => patch.after === number);
    }, true);
    assert.deepEqual((await place.call(made, 'echo', 2)).payload, { echo: 2 });
  });
});
