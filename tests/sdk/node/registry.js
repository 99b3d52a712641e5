// Devices, by azure-iothub.
'use strict';

const { Registry } = require('azure-iothub');
const { assert, check, checkHere, isRefused, refusal } = require('./harness');

const keys = (made) => [made.authentication.symmetricKey.primaryKey, made.authentication.symmetricKey.secondaryKey];
const key = (byte) => Buffer.alloc(32, byte).toString('base64');

check(async function a_new_device_gets_two_keys_of_its_own(place) {
  const found = [...keys(await place.device()), ...keys(await place.device())];
  assert.equal(new Set(found).size, 4);
  assert.ok(found.every((one) => Buffer.from(one, 'base64').length >= 16));
});

check(async function a_new_device_is_enabled_and_has_never_been_here(place) {
  const made = await place.device();
  assert.deepEqual(
    [made.status, made.connectionState, made.cloudToDeviceMessageCount, made.lastActivityTime.slice(0, 4)],
    ['enabled', 'Disconnected', 0, '0001']
  );
  assert.ok(made.etag && made.generationId);
});

check(async function a_device_keeps_the_keys_it_is_given(place) {
  const symmetricKey = { primaryKey: key(1), secondaryKey: key(2) };
  const made = await place.device({ authentication: { type: 'sas', symmetricKey } });
  assert.deepEqual(keys(await place.shown(made)), [key(1), key(2)]);
});

check(async function a_device_is_shown_as_it_was_made(place) {
  const made = await place.device();
  assert.deepEqual({ ...(await place.shown(made)) }, { ...made });
});

check(async function a_name_is_taken_once(place) {
  const made = await place.device();
  const said = await isRefused(
    place.registry.create({ deviceId: made.deviceId }), 'DeviceAlreadyExistsError', 409, 'DeviceAlreadyExists'
  );
  assert.match(said.message, /\S/);
});

check(async function a_device_that_is_not_there_is_the_clients_device_not_found_error(place) {
  const name = place.name();
  const said = await isRefused(place.registry.get(name), 'DeviceNotFoundError', 404, 'DeviceNotFound');
  assert.doesNotMatch(said.message, /[{}]/);
});

checkHere(async function a_message_names_the_device(place) {
  const name = place.name();
  const said = await refusal(place.registry.get(name));
  assert.ok(said.message.includes(name), said.message);
});

check(async function an_update_disables_and_keeps_the_keys(place) {
  const made = await place.device();
  const change = { deviceId: made.deviceId, status: 'disabled', statusReason: 'lost' };
  const now = (await place.registry.update(change)).responseBody;
  assert.deepEqual([now.status, now.statusReason, now.generationId], ['disabled', 'lost', made.generationId]);
  assert.deepEqual(keys(await place.shown(made)), keys(made));
});

check(async function an_update_of_the_whole_device_gives_new_keys(place) {
  const made = await place.device();
  made.authentication.symmetricKey = { primaryKey: key(3), secondaryKey: key(4) };
  await place.registry.update(made);
  assert.deepEqual(keys(await place.shown(made)), [key(3), key(4)]);
});

check(async function an_update_of_nothing_is_not_found(place) {
  assert.equal((await refusal(place.registry.update({ deviceId: place.name() }))).status, 404);
});

check(async function a_deleted_device_is_gone(place) {
  const made = await place.device();
  await place.registry.delete(made.deviceId);
  await isRefused(place.registry.get(made.deviceId), 'DeviceNotFoundError', 404, 'DeviceNotFound');
  await isRefused(place.registry.delete(made.deviceId), 'DeviceNotFoundError', 404, 'DeviceNotFound');
});

check(async function an_edge_device_has_a_scope_and_its_two_modules(place) {
  const made = await place.edgeDevice();
  assert.equal(made.capabilities.iotEdge, true);
  assert.ok(made.deviceScope.startsWith(`ms-azure-iot-edge://${made.deviceId}-`));
  const names = (await place.registry.getModulesOnDevice(made.deviceId)).responseBody.map((one) => one.moduleId);
  assert.deepEqual(names.sort(), ['$edgeAgent', '$edgeHub']);
});

check(async function a_name_may_hold_special_characters(place) {
  const deviceId = `${place.name()}-._*!(),=@$'`;
  await place.registry.create({ deviceId });
  assert.equal((await place.registry.get(deviceId)).responseBody.deviceId, deviceId);
  await place.registry.delete(deviceId);
});

check(async function a_name_with_a_space_is_an_argument_error(place) {
  const said = await refusal(place.registry.create({ deviceId: `${place.name()} x` }));
  assert.deepEqual([said.name, said.status], ['ArgumentError', 400]);
});

check(async function devices_are_listed(place) {
  const made = [(await place.device()).deviceId, (await place.device()).deviceId];
  const listed = (await place.registry.list()).responseBody.map((one) => one.deviceId);
  assert.deepEqual(made.map((name) => listed.includes(name)), [true, true]);
  assert.equal(new Set(listed).size, listed.length);
});

check(async function statistics_count_devices(place) {
  await place.device();
  await place.device({ status: 'disabled' });
  await place.settles(async () => {
    const counted = (await place.registry.getRegistryStatistics()).responseBody;
    const { totalDeviceCount: total, enabledDeviceCount: enabled, disabledDeviceCount: disabled } = counted;
    return enabled >= 1 && disabled >= 1 && total === enabled + disabled;
  }, true);
});

checkHere(async function statistics_follow_at_once(place) {
  const count = async () => (await place.registry.getRegistryStatistics()).responseBody.totalDeviceCount;
  const before = await count();
  await place.device();
  assert.equal(await count(), before + 1);
});

check(async function a_wrong_policy_key_is_unauthorised(place) {
  const wrong = place.service.replace(/SharedAccessKey=[^;]*/, `SharedAccessKey=${key(9)}`);
  await isRefused(Registry.fromConnectionString(wrong).list(), 'UnauthorizedError', 401, 'IotHubUnauthorizedAccess');
});

check(async function a_callback_is_told_too(place) {
  const made = await place.device();
  const [error, shown, response] = await new Promise((resolve) => {
    place.registry.get(made.deviceId, (...said) => resolve(said));
  });
  assert.deepEqual([error, shown.deviceId, response.statusCode], [null, made.deviceId, 200]);
});

check(async function nothing_is_left_after_a_sweep(place) {
  const made = await place.device();
  await place.sweep();
  assert.equal((await refusal(place.registry.get(made.deviceId))).status, 404);
  const left = (await place.registry.list()).responseBody.map((one) => one.deviceId);
  assert.deepEqual(left.filter((name) => name.startsWith(place.prefix)), []);
});
