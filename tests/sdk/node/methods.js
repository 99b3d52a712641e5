// Direct methods, asked by azure-iothub, answered by azure-iot-device.
'use strict';

const { answerMethods, assert, check, isRefused, refusal } = require('./harness');

/** What `body` gives while the device answers methods. */
function answering(place, made, body) {
  return place.connected(made, async (client) => {
    answerMethods(client);
    return body(client);
  });
}

check(async function a_device_answers(place) {
  const made = await place.device();
  const said = await answering(place, made, () => place.call(made, 'echo', { n: [1, null, 'ü'] }));
  assert.deepEqual([said.status, said.payload], [200, { echo: { n: [1, null, 'ü'] } }]);
});

check(async function a_module_answers(place) {
  const made = await place.module(await place.device());
  const said = await answering(place, made, () => place.call(made, 'echo', 'hello'));
  assert.deepEqual([said.status, said.payload], [200, { echo: 'hello' }]);
});

check(async function the_status_is_the_devices_own(place) {
  const made = await place.device();
  const said = await answering(place, made, () => place.call(made, 'teapot'));
  assert.deepEqual([said.status, said.payload], [418, { short: 'stout' }]);
});

check(async function payloads_may_be_missing(place) {
  const made = await place.device();
  await answering(place, made, async () => {
    assert.deepEqual((await place.call(made, 'echo')).payload, { echo: null });
    const said = await place.call(made, 'nothing', 1);
    assert.deepEqual([said.status, said.payload], [204, null]);
  });
});

check(async function payloads_of_100_kb_go_both_ways(place) {
  const made = await place.device();
  const text = 'x'.repeat(100_000);
  const said = await answering(place, made, () => place.call(made, 'echo', text));
  assert.ok(said.payload.echo === text);
});

check(async function several_methods_at_once_get_their_own_answers(place) {
  const made = await place.device();
  await answering(place, made, async () => {
    await place.call(made, 'echo', 'first');
    const said = await Promise.all([0, 1, 2, 3, 4].map((n) => place.call(made, 'echo', n)));
    assert.deepEqual(said.map((one) => one.payload.echo), [0, 1, 2, 3, 4]);
  });
});

check(async function a_device_that_is_away_is_not_online(place) {
  const made = await place.device();
  const said = await refusal(place.call(made, 'echo', 1, {}));
  assert.deepEqual([said.status, said.code], [404, 'DeviceNotOnline']);
  assert.match(said.error.responseBody, /404103/);
});

check(async function a_device_that_is_silent_is_the_clients_gateway_timeout_error(place) {
  const made = await place.device();
  await answering(place, made, () =>
    isRefused(
      place.call(made, 'silent', 1, { connectTimeoutInSeconds: 20, responseTimeoutInSeconds: 5 }),
      'GatewayTimeoutError', 504, 'GatewayTimeout'
    )
  );
});

check(async function a_name_without_a_handler_times_out(place) {
  const made = await place.device();
  const timeouts = { connectTimeoutInSeconds: 20, responseTimeoutInSeconds: 5 };
  const said = await answering(place, made, () => refusal(place.call(made, 'unheardOf', 1, timeouts)));
  assert.deepEqual([said.name, said.status], ['GatewayTimeoutError', 504]);
});

check(async function a_device_that_comes_in_time_answers(place) {
  const made = await place.device();
  const asked = place.call(made, 'echo', 'late');
  await new Promise((resolve) => setTimeout(resolve, 500));
  const said = await answering(place, made, () => asked);
  assert.deepEqual(said.payload, { echo: 'late' });
});

check(async function methods_of_nothing_are_not_found(place) {
  const said = await refusal(place.call({ deviceId: place.name() }, 'echo', 1, {}));
  assert.equal(said.status, 404);
});

check(async function timeouts_out_of_bounds_are_an_argument_error(place) {
  const made = await place.device();
  const said = await refusal(place.call(made, 'echo', 1, { responseTimeoutInSeconds: 301 }));
  assert.deepEqual([said.name, said.status], ['ArgumentError', 400]);
});
