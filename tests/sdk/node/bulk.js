// Many devices in one call, by azure-iothub.
'use strict';

const { assert, check, refusal } = require('./harness');

check(async function bulk_creates_devices(place) {
  const made = [0, 1, 2].map(() => ({ deviceId: place.name(), status: 'enabled' }));
  const done = (await place.registry.addDevices(made)).responseBody;
  assert.deepEqual([done.isSuccessful, done.errors], [true, []]);
  for (const one of made) assert.ok((await place.shown(one)).authentication.symmetricKey.primaryKey);
});

check(async function bulk_says_which_device_was_there_already(place) {
  const there = await place.device();
  const fresh = { deviceId: place.name() };
  const said = await refusal(place.registry.addDevices([{ deviceId: there.deviceId }, fresh]));
  assert.deepEqual([said.name, said.status], ['ArgumentError', 400]);
  const done = JSON.parse(said.error.responseBody);
  assert.deepEqual([done.isSuccessful, done.errors.length, done.errors[0].deviceId], [false, 1, there.deviceId]);
  assert.equal((await place.shown(fresh)).deviceId, fresh.deviceId);
});

check(async function bulk_updates_devices(place) {
  const made = [await place.device(), await place.device()];
  for (const one of made) one.status = 'disabled';
  const done = (await place.registry.updateDevices(made, true)).responseBody;
  assert.equal(done.isSuccessful, true);
  for (const one of made) assert.equal((await place.shown(one)).status, 'disabled');
});

check(async function bulk_updates_with_etags_refuse_an_old_one(place) {
  const made = await place.device();
  await place.registry.update({ ...made, statusReason: 'changed' });
  const said = await refusal(place.registry.updateDevices([{ ...made, status: 'disabled' }], false));
  assert.equal(said.status, 400);
  assert.equal((await place.shown(made)).status, 'enabled');
  const now = await place.shown(made);
  const done = (await place.registry.updateDevices([{ ...now, status: 'disabled' }], false)).responseBody;
  assert.equal(done.isSuccessful, true);
  assert.equal((await place.shown(made)).status, 'disabled');
});

check(async function bulk_deletes_devices(place) {
  const made = [await place.device(), await place.device()];
  assert.equal((await place.registry.removeDevices(made, true)).responseBody.isSuccessful, true);
  for (const one of made) assert.equal((await refusal(place.shown(one))).status, 404);
});

check(async function bulk_deletes_with_the_etag(place) {
  const made = await place.device();
  await place.registry.update({ ...made, statusReason: 'changed' });
  assert.equal((await refusal(place.registry.removeDevices([made], false))).status, 400);
  const now = await place.shown(made);
  assert.equal((await place.registry.removeDevices([now], false)).responseBody.isSuccessful, true);
  assert.equal((await refusal(place.shown(made))).status, 404);
});
