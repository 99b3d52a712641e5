// A device's life, by azure-iot-device: connection, twin, methods.
'use strict';

const { MqttWs } = require('azure-iot-device-mqtt');
const {
  Events, answerMethods, assert, becomes, check, checkHere, inTime, patches, plain, refusal, report, using,
} = require('./harness');

check(async function a_device_connects_and_the_hub_knows(place) {
  const made = await place.device();
  const state = async () => (await place.shown(made)).connectionState;
  await place.connected(made, () => place.settles(state, 'Connected'));
  await becomes(state, 'Disconnected');
});

check(async function a_device_comes_back_after_it_left(place) {
  const made = await place.device();
  await place.connected(made, async (client) => {
    await client.close();
    await becomes(async () => (await place.shown(made)).connectionState, 'Disconnected');
    await client.open();
    assert.equal((await inTime(client.getTwin(), 'the twin')).properties.desired.$version, 1);
  });
});

check(async function a_device_sees_its_twin(place) {
  const made = await place.device();
  await place.desire(made, { a: { b: 1 } });
  await place.patch(made, { tags: { secret: 1 } });
  const twin = await place.connected(made, (client) => inTime(client.getTwin(), 'the twin'));
  assert.deepEqual(twin.properties.desired.a, { b: 1 });
  assert.deepEqual([twin.properties.desired.$version, twin.properties.reported.$version], [2, 1]);
  assert.equal('tags' in twin.properties, false);
});

check(async function a_device_reports(place) {
  const made = await place.device();
  await place.connected(made, async (client) => {
    const twin = await client.getTwin();
    await report(twin, { a: { b: 1, c: 2 }, d: 'ü' });
    assert.deepEqual(await place.reported(made), { a: { b: 1, c: 2 }, d: 'ü' });
    await report(twin, { a: { b: null }, d: null });
    assert.deepEqual(await place.reported(made), { a: { c: 2 } });
    await twin.get();
    assert.equal(twin.properties.reported.$version, 3);
  });
});

check(async function a_report_that_is_too_deep_is_an_error(place) {
  let deep = 1;
  for (let level = 0; level < 11; level += 1) deep = { a: deep };
  const made = await place.device();
  await place.connected(made, async (client) => {
    const twin = await client.getTwin();
    const said = await refusal(report(twin, { a: deep }));
    assert.match(said.message, /^[^{]*\S/);
    await report(twin, { still: 'here' });
  });
  assert.deepEqual(await place.reported(made), { still: 'here' });
});

check(async function a_report_over_32_kb_is_an_error(place) {
  const made = await place.device();
  const big = Object.fromEntries(Array.from({ length: 12 }, (_, n) => [`k${n}`, 'x'.repeat(3000)]));
  await place.connected(made, async (client) => {
    const said = await refusal(report(await client.getTwin(), big));
    assert.match(said.message, /^[^{]*\S/);
  });
  assert.deepEqual(await place.reported(made), {});
});

check(async function a_device_is_told_its_desired_patch(place) {
  const made = await place.device();
  await place.connected(made, async (client) => {
    const told = await patches(client);
    const version = await place.desire(made, { speed: 1, gone: null });
    assert.deepEqual(await told.take(), { speed: 1, gone: null, $version: version });
    assert.equal(told.twin.properties.desired.speed, 1);
  });
});

check(async function a_listener_of_one_property_is_told_of_it_alone(place) {
  const made = await place.device();
  await place.connected(made, async (client) => {
    const told = await patches(client);
    const speeds = new Events();
    told.twin.on('properties.desired.motor.speed', (speed) => speeds.put(speed));
    await place.desire(made, { other: 1 });
    await place.desire(made, { motor: { speed: 7 } });
    assert.equal(await speeds.take(), 7);
  });
});

check(async function patches_come_in_order(place) {
  const made = await place.device();
  await place.connected(made, async (client) => {
    const told = await patches(client);
    for (const n of [0, 1, 2, 3, 4]) await place.desire(made, { n });
    const came = [];
    for (let count = 0; count < 5; count += 1) came.push((await told.take()).n);
    assert.deepEqual(came, [0, 1, 2, 3, 4]);
  });
});

check(async function a_change_of_tags_is_not_told(place) {
  const made = await place.device();
  await place.connected(made, async (client) => {
    const told = await patches(client);
    await place.patch(made, { tags: { a: 1 } });
    const version = await place.desire(made, { after: 1 });
    assert.deepEqual(await told.take(), { after: 1, $version: version });
  });
});

check(async function the_first_whole_has_what_was_desired_before(place) {
  const made = await place.device();
  await place.desire(made, { before: { b: 1 } });
  await place.connected(made, async (client) => {
    const told = await patches(client);
    assert.deepEqual(plain(told.twin.properties.desired), { before: { b: 1 } });
  });
});

check(async function methods_are_answered_again_after_it_left(place) {
  const made = await place.device();
  await place.connected(made, async (client) => {
    answerMethods(client);
    assert.deepEqual((await place.call(made, 'echo', 1)).payload, { echo: 1 });
    await client.close();
    await client.open();
    assert.deepEqual((await place.call(made, 'echo', 2)).payload, { echo: 2 });
  });
});

check(async function a_second_connection_ends_the_first(place) {
  const made = await place.device();
  await place.connected(made, async (first) => {
    const gone = new Events();
    first.setRetryPolicy({ shouldRetry: () => false, nextRetryTimeout: () => 0 });
    first.on('disconnect', () => gone.put(true));
    await patches(first);
    await place.connected(made, async (second) => {
      await gone.take();
      assert.equal((await inTime(second.getTwin(), 'the twin')).properties.desired.$version, 1);
    });
  });
});

check(async function a_device_that_is_deleted_is_dropped(place) {
  const made = await place.device();
  await place.connected(made, async (client) => {
    const gone = new Events();
    client.setRetryPolicy({ shouldRetry: () => false, nextRetryTimeout: () => 0 });
    client.on('disconnect', () => gone.put(true));
    await patches(client);
    await place.registry.delete(made.deviceId);
    assert.equal(await gone.take(), true);
  });
});

check(async function a_device_made_anew_has_nothing_of_the_old(place) {
  const made = await place.device();
  await place.desire(made, { old: 1 });
  await place.connected(made, async (client) => report(await client.getTwin(), { old: 1 }));
  await place.registry.delete(made.deviceId);
  const again = await place.device({ deviceId: made.deviceId });
  await place.connected(again, async (client) => {
    const { desired, reported } = (await client.getTwin()).properties;
    assert.deepEqual([plain(desired), plain(reported)], [{}, {}]);
  });
});

checkHere(async function a_web_socket_is_refused_and_not_left_hanging(place) {
  const made = await place.device();
  await using(await place.deviceClient(made, undefined, MqttWs), async (client) => {
    const said = await refusal(inTime(client.open(), 'a refusal', 20_000));
    assert.match(said.name, /Error$/);
    assert.doesNotMatch(said.message, /nothing came/);
  });
});
