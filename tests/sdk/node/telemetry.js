// Telemetry, by azure-iot-device; read back from our hub's own route, as Azure has Event Hubs there.
'use strict';

const { Message } = require('azure-iot-device');
const { ask, assert, checkHere } = require('./harness');

const text = (message) => Buffer.from(message.body, 'base64').toString();
const messages = (made) => ask('messages', { device: made.deviceId });

checkHere(async function a_message_comes_with_all_it_carries(place) {
  const made = await place.device();
  const message = new Message('hot');
  Object.assign(message, {
    messageId: 'id-1', correlationId: 'cor-1', contentType: 'text/plain', contentEncoding: 'utf-8',
  });
  message.properties.add('line', '2');
  message.properties.add('shift', 'night');
  await place.connected(made, (client) => client.sendEvent(message));
  const [came] = await messages(made);
  assert.deepEqual([came.deviceId, came.moduleId, text(came)], [made.deviceId, undefined, 'hot']);
  assert.deepEqual(came.properties, { line: '2', shift: 'night' });
  assert.deepEqual(came.systemProperties, {
    messageId: 'id-1', correlationId: 'cor-1', contentType: 'text/plain', contentEncoding: 'utf-8',
  });
});

checkHere(async function json_stands_as_json(place) {
  const made = await place.device();
  const body = { celsius: 180.5, who: 'Ü' };
  const message = new Message(JSON.stringify(body));
  Object.assign(message, { contentType: 'application/json', contentEncoding: 'utf-8' });
  await place.connected(made, (client) => client.sendEvent(message));
  const [came] = await messages(made);
  assert.deepEqual([came.encoding, came.body], ['json', body]);
});

checkHere(async function properties_take_any_character(place) {
  const made = await place.device();
  const odd = { 'a b': 'c=d&e', ü: '%2F/ +?#', last: 'ends/' };
  const message = new Message('x');
  for (const [name, value] of Object.entries(odd)) message.properties.add(name, value);
  await place.connected(made, (client) => client.sendEvent(message));
  assert.deepEqual((await messages(made))[0].properties, odd);
});

checkHere(async function a_batch_comes_in_order(place) {
  const made = await place.device();
  const batch = [0, 1, 2, 3].map((number) => new Message(String(number)));
  await place.connected(made, async (client) => {
    for (const one of batch) await client.sendEvent(one);
  });
  assert.deepEqual((await messages(made)).map(text), ['0', '1', '2', '3']);
});

checkHere(async function a_message_of_250_kb_comes_whole(place) {
  const made = await place.device();
  const body = 'x'.repeat(250_000);
  await place.connected(made, (client) => client.sendEvent(new Message(body)));
  const [came] = await messages(made);
  assert.ok(text(came) === body);
});

checkHere(async function a_modules_output_is_named(place) {
  const made = await place.module(await place.edgeDevice());
  const message = new Message('seven');
  message.properties.add('digit', '7');
  await place.connected(made, async (client) => {
    await client.sendOutputEvent('digits', message);
    await client.sendEvent(new Message('plain'));
  });
  const [named, plain] = await messages(made);
  assert.deepEqual([named.moduleId, text(named), named.properties], ['m', 'seven', { digit: '7' }]);
  assert.equal(named.systemProperties.outputName, 'digits');
  assert.deepEqual([plain.moduleId, plain.systemProperties.outputName], ['m', undefined]);
});
