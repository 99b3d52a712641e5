// Automatic deployments, by azure-iothub.
'use strict';

const { assert, check, checkHere, refusal } = require('./harness');

const settings = { image: 'example.com/m:1', createOptions: '{}' };

/** A whole deployment's content with these modules. */
function base(...names) {
  const entry = { type: 'docker', status: 'running', restartPolicy: 'always', version: '1.0', settings };
  const desired = {
    schemaVersion: '1.1',
    runtime: { type: 'docker', settings: { minDockerVersion: 'v1.25' } },
    systemModules: {
      edgeAgent: { type: 'docker', settings },
      edgeHub: { type: 'docker', settings, status: 'running', restartPolicy: 'always' },
    },
    modules: Object.fromEntries(names.map((name) => [name, entry])),
  };
  const hub = { schemaVersion: '1.1', routes: {}, storeAndForwardConfiguration: { timeToLiveSecs: 7200 } };
  return {
    modulesContent: { $edgeAgent: { 'properties.desired': desired }, $edgeHub: { 'properties.desired': hub } },
  };
}

function configuration(place, more = {}) {
  return { id: place.name(), content: base('m'), targetCondition: '', priority: 1, ...more };
}

async function added(place, more) {
  return (await place.registry.addConfiguration(configuration(place, more))).responseBody;
}

async function shown(place, made) {
  return (await place.registry.getConfiguration(made.id)).responseBody;
}

async function agentsModules(place, made) {
  const twin = await place.twin({ deviceId: made.deviceId, moduleId: '$edgeAgent' });
  return Object.keys(twin.properties.desired.modules).sort();
}

check(async function a_configuration_is_shown_as_it_was_made(place) {
  const wanted = configuration(place, { labels: { by: 'us' }, targetCondition: "tags.a = 'b'", priority: 7 });
  await place.registry.addConfiguration(wanted);
  const found = await shown(place, wanted);
  assert.deepEqual(
    [found.id, found.labels, found.targetCondition, found.priority],
    [wanted.id, { by: 'us' }, "tags.a = 'b'", 7]
  );
  assert.deepEqual(found.content.modulesContent, wanted.content.modulesContent);
});

check(async function a_configurations_name_is_taken_once(place) {
  const made = await added(place);
  const said = await refusal(place.registry.addConfiguration(configuration(place, { id: made.id })));
  assert.equal(said.status, 409);
});

check(async function configurations_are_listed(place) {
  const made = await added(place);
  const listed = (await place.registry.getConfigurations()).responseBody.map((one) => one.id);
  assert.ok(listed.includes(made.id));
});

check(async function a_configuration_is_updated_with_its_etag(place) {
  const made = await added(place);
  const now = (await place.registry.updateConfiguration({ ...made, priority: 9 })).responseBody;
  assert.equal(now.priority, 9);
  const said = await refusal(place.registry.updateConfiguration({ ...made, priority: 3 }));
  assert.deepEqual([said.name, said.status], ['InvalidEtagError', 412]);
  await place.registry.updateConfiguration({ ...made, priority: 3 }, true);
  assert.equal((await shown(place, made)).priority, 3);
});

check(async function a_configuration_is_removed(place) {
  const made = await added(place);
  await place.registry.removeConfiguration(made.id);
  const said = await refusal(place.registry.getConfiguration(made.id));
  assert.deepEqual([said.status, said.code], [404, 'ConfigurationNotFound']);
});

check(async function a_configurations_content_stays(place) {
  const made = await added(place);
  const said = await refusal(place.registry.updateConfiguration({ ...made, content: base('other') }, true));
  assert.deepEqual([said.name, said.status], ['ArgumentError', 400]);
});

check(async function a_wrong_condition_is_an_argument_error(place) {
  const said = await refusal(added(place, { targetCondition: 'tags.a = ' }));
  assert.deepEqual([said.name, said.status], ['ArgumentError', 400]);
  assert.doesNotMatch(said.message, /[{}]/);
});

check(async function content_is_applied_to_one_device(place) {
  const made = await place.edgeDevice();
  await place.registry.applyConfigurationContentOnDevice(made.deviceId, base('a', 'b'));
  const modules = (await place.registry.getModulesOnDevice(made.deviceId)).responseBody;
  assert.deepEqual(modules.map((one) => one.moduleId).sort(), ['$edgeAgent', '$edgeHub', 'a', 'b']);
  assert.deepEqual(await agentsModules(place, made), ['a', 'b']);
});

checkHere(async function a_deployment_reaches_its_device_at_once(place) {
  const device = await place.edgeDevice();
  const made = await added(place, { targetCondition: `deviceId = '${device.deviceId}'` });
  assert.deepEqual(
    [made.systemMetrics.results.targetedCount, made.systemMetrics.results.appliedCount], [1, 1]
  );
  assert.deepEqual(await agentsModules(place, device), ['m']);
});

checkHere(async function custom_metrics_are_counted(place) {
  const device = await place.device();
  const queries = { mine: `SELECT deviceId FROM devices WHERE deviceId = '${device.deviceId}'` };
  const made = await added(place, { metrics: { queries, results: {} } });
  assert.deepEqual((await shown(place, made)).metrics.results, { mine: 1 });
});
