// What all checks share: how one is declared, where the hub is, what it makes there and how it is refused.
//
// A check is an asynchronous function that compares what Microsoft's client got with what it must get. Names of
// functions are names of checks; the tests read them from the source.
'use strict';

const assert = require('node:assert').strict;
const fs = require('node:fs');
const readline = require('node:readline');
const { Client, Registry } = require('azure-iothub');
const device = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');

const WAIT_MS = 30_000;
const checks = new Map();
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

function check(body, hereOnly = false) {
  if (checks.has(body.name)) throw new Error(`two checks are named ${body.name}`);
  checks.set(body.name, { body, hereOnly });
}

/** Declares a check of something that only our hub has or promises. */
function checkHere(body) {
  check(body, true);
}

/** One JSON line to the tests. */
function say(facts) {
  fs.writeSync(1, JSON.stringify(facts) + '\n');
}

async function nextLine() {
  return (await lines.next()).value;
}

/** What the tests give when they have done it: `kill` and `start` the hub, read a `device`'s `messages`. */
async function ask(what, facts = {}) {
  say({ ask: what, ...facts });
  const said = JSON.parse(await nextLine());
  assert.equal(said.error, undefined);
  return said;
}

/** The error that the promise must end with: its class, its HTTP status, the hub's name for it, its message. */
async function refusal(promise) {
  let answer;
  try {
    answer = await promise;
  } catch (error) {
    return {
      name: error.name,
      status: error.response && error.response.statusCode,
      code: error.response && error.response.headers['iothub-errorcode'],
      message: error.message,
      error,
    };
  }
  throw new Error(`not refused, but answered ${JSON.stringify(answer && answer.responseBody)}`);
}

/** Fails unless the refusal is of that class, status and name of the hub's. */
async function isRefused(promise, name, status, code) {
  const said = await refusal(promise);
  assert.deepEqual([said.name, said.status, said.code], [name, status, code]);
  return said;
}

/** Fails unless what `look` gives equals `wanted` in time. */
async function becomes(look, wanted) {
  const deadline = Date.now() + WAIT_MS;
  for (;;) {
    const found = await look();
    if (equal(found, wanted)) return;
    if (Date.now() > deadline) assert.deepEqual(found, wanted);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function equal(found, wanted) {
  try {
    assert.deepEqual(found, wanted);
    return true;
  } catch {
    return false;
  }
}

/** The promise's value, or an error when it takes too long. */
function inTime(promise, what, limit = WAIT_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing came in ${limit} ms`)), limit);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Events in the order they came, to be taken one by one. */
class Events {
  constructor() {
    this.kept = [];
    this.waiting = null;
  }

  put(event) {
    this.kept.push(event);
    if (this.waiting) this.waiting();
  }

  /** The next event that is wanted. */
  take(wanted = () => true) {
    const found = async () => {
      for (;;) {
        while (this.kept.length) {
          const event = this.kept.shift();
          if (wanted(event)) return event;
        }
        await new Promise((resolve) => {
          this.waiting = resolve;
        });
      }
    };
    return inTime(found(), 'an event');
  }
}

/** The hub: its service connection string, its CA file and device gateway where it is ours, and the prefix that
 * every id here carries. */
class Place {
  constructor(given) {
    this.service = given.service;
    this.prefix = given.prefix;
    this.gateway = given.gateway;
    this.caFile = given.ca_file;
    this.isHere = Boolean(given.gateway);
    this.ca = given.ca_file ? fs.readFileSync(given.ca_file, 'utf8') : undefined;
    this.host = /HostName=([^;]*)/.exec(given.service)[1];
    this.registry = Registry.fromConnectionString(given.service);
    this.client = Client.fromConnectionString(given.service);
    this.number = 0;
  }

  /** An id that nothing has. */
  name() {
    return `${this.prefix}-${this.number++}`;
  }

  /** A new device. */
  async device(more = {}) {
    return (await this.registry.create({ deviceId: this.name(), status: 'enabled', ...more })).responseBody;
  }

  edgeDevice() {
    return this.device({ capabilities: { iotEdge: true } });
  }

  async shown(made) {
    return (await this.registry.get(made.deviceId)).responseBody;
  }

  /** A new module of it. */
  async module(made, name = 'm') {
    return (await this.registry.addModule({ deviceId: made.deviceId, moduleId: name })).responseBody;
  }

  async twin(made) {
    const { registry } = this;
    const said = made.moduleId
      ? await registry.getModuleTwin(made.deviceId, made.moduleId)
      : await registry.getTwin(made.deviceId);
    return said.responseBody;
  }

  /** The twin after the patch, whatever it was before. */
  async patch(made, patch, etag = '*') {
    const { registry } = this;
    const said = made.moduleId
      ? await registry.updateModuleTwin(made.deviceId, made.moduleId, patch, etag)
      : await registry.updateTwin(made.deviceId, patch, etag);
    return said.responseBody;
  }

  /** The version of the desired properties after they were patched. */
  async desire(made, values) {
    return (await this.patch(made, { properties: { desired: values } })).properties.desired.$version;
  }

  async reported(made) {
    return plain((await this.twin(made)).properties.reported);
  }

  /** The answer to a direct method: its status and payload. */
  async call(made, methodName, payload, timeouts = { connectTimeoutInSeconds: 20 }) {
    const parameters = { methodName, payload, ...timeouts };
    const said = made.moduleId
      ? await this.client.invokeDeviceMethod(made.deviceId, made.moduleId, parameters)
      : await this.client.invokeDeviceMethod(made.deviceId, parameters);
    return said.result;
  }

  /** All rows of a query. */
  async rows(text, size) {
    const query = this.registry.createQuery(text, size);
    const rows = [];
    // Without the token, the promise form of next() starts over.
    while (query.hasMoreResults) rows.push(...(await query.next(query.continuationToken)).result);
    return rows;
  }

  /** Fails unless `look` gives `wanted`: here at once, on Azure, whose queries lag, in time. */
  async settles(look, wanted) {
    if (this.isHere) assert.deepEqual(await look(), wanted);
    else await becomes(look, wanted);
  }

  /** The connection string of a device or module, by its primary key or the given one. */
  connection(made, key = made.authentication.symmetricKey.primaryKey) {
    const parts = [`HostName=${this.host}`, `DeviceId=${made.deviceId}`];
    if (made.moduleId) parts.push(`ModuleId=${made.moduleId}`);
    parts.push(`SharedAccessKey=${key}`);
    if (this.gateway) parts.push(`GatewayHostName=${this.gateway}`);
    return parts.join(';');
  }

  /** A client for it, not connected. */
  async deviceClient(made, key, transport = Mqtt) {
    const kind = made.moduleId ? device.ModuleClient : device.Client;
    return this.trusting(kind.fromConnectionString(this.connection(made, key), transport));
  }

  /** The same client; where the hub is ours, it trusts its authority. */
  async trusting(client) {
    if (this.ca) await client.setOptions({ ca: this.ca });
    client.on('error', () => {});
    return client;
  }

  /** What `body` gives for a client that is connected meanwhile. */
  async connected(made, body, key) {
    return using(await this.deviceClient(made, key), async (client) => {
      await client.open();
      return body(client);
    });
  }

  /** Everything that carries the prefix is gone. */
  async sweep() {
    for (const one of (await this.registry.list()).responseBody) {
      if (one.deviceId.startsWith(this.prefix)) await this.registry.delete(one.deviceId);
    }
    for (const one of (await this.registry.getConfigurations()).responseBody) {
      if (one.id.startsWith(this.prefix)) await this.registry.removeConfiguration(one.id);
    }
  }
}

/** What `body` gives; the client is closed at the end. */
async function using(client, body) {
  try {
    return await body(client);
  } finally {
    await inTime(client.close(), 'closing').catch(() => {});
  }
}

/** `echo` gives the payload back, `teapot` 418, `nothing` no payload, `silent` never an answer. */
function answerMethods(client) {
  const on = (client.onDeviceMethod || client.onMethod).bind(client);
  on('echo', (request, response) => response.send(200, { echo: request.payload }));
  on('teapot', (_, response) => response.send(418, { short: 'stout' }));
  on('nothing', (_, response) => response.send(204));
  on('silent', () => {});
}

/** Desired patches that the client is told from now on, without the whole that a new listener gets first. */
async function patches(client) {
  const twin = await client.getTwin();
  const told = new Events();
  await new Promise((resolve) => {
    let first = true;
    twin.on('properties.desired', (patch) => {
      if (first) resolve();
      else told.put(patch);
      first = false;
    });
  });
  told.twin = twin;
  return told;
}

/** The client's own twin after it reported. */
function report(twin, patch) {
  const reported = new Promise((resolve, reject) => {
    twin.properties.reported.update(patch, (error) => (error ? reject(error) : resolve()));
  });
  return inTime(reported, 'the answer to a report');
}

/** The values of a section without what the hub adds. */
function plain(section) {
  return Object.fromEntries(Object.entries(section).filter(([name]) => !name.startsWith('$') && name !== 'update'));
}

module.exports = {
  Events,
  Place,
  answerMethods,
  ask,
  assert,
  becomes,
  check,
  checkHere,
  checks,
  inTime,
  isRefused,
  nextLine,
  patches,
  plain,
  refusal,
  report,
  say,
  using,
};
