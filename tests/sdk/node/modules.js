// Module identities, by azure-iothub.
'use strict';

const { assert, check, refusal } = require('./harness');

check(async function a_module_is_shown_as_it_was_made(place) {
  const made = await place.module(await place.device());
  const shown = (await place.registry.getModule(made.deviceId, 'm')).responseBody;
  assert.deepEqual(shown, made);
  assert.equal(shown.moduleId, 'm');
});

check(async function a_module_name_is_taken_once_on_a_device(place) {
  const made = await place.module(await place.device());
  const said = await refusal(place.module(made));
  assert.deepEqual([said.status, said.code], [409, 'ModuleAlreadyExistsOnDevice']);
});

check(async function modules_are_listed(place) {
  const made = await place.device();
  for (const name of ['a', 'b']) await place.module(made, name);
  const names = (await place.registry.getModulesOnDevice(made.deviceId)).responseBody.map((one) => one.moduleId);
  assert.deepEqual(names.sort(), ['a', 'b']);
});

check(async function a_module_is_updated_with_its_etag(place) {
  const made = await place.module(await place.device());
  const now = (await place.registry.updateModule({ ...made, managedBy: 'someone' })).responseBody;
  assert.equal(now.managedBy, 'someone');
  const said = await refusal(place.registry.updateModule({ ...made, managedBy: 'else' }));
  assert.deepEqual([said.name, said.status], ['InvalidEtagError', 412]);
  const forced = (await place.registry.updateModule({ ...made, managedBy: 'forced' }, true)).responseBody;
  assert.equal(forced.managedBy, 'forced');
});

/** Only the form with a callback takes a whole module, and sends its etag. */
const remove = (place, made) =>
  new Promise((resolve, reject) => {
    place.registry.removeModule(made, (error, result) => (error ? reject(error) : resolve(result)));
  });

check(async function a_module_is_deleted_with_its_etag(place) {
  const made = await place.module(await place.device());
  const now = (await place.registry.updateModule({ ...made, managedBy: 'x' })).responseBody;
  assert.equal((await refusal(remove(place, made))).name, 'InvalidEtagError');
  await remove(place, now);
  assert.equal((await refusal(place.registry.getModule(made.deviceId, 'm'))).status, 404);
});

check(async function a_module_is_deleted_by_its_names(place) {
  const made = await place.module(await place.device());
  await place.registry.removeModule(made.deviceId, made.moduleId);
  assert.equal((await refusal(place.registry.getModule(made.deviceId, 'm'))).code, 'ModuleNotFound');
});

check(async function a_module_of_no_device_is_refused(place) {
  const said = await refusal(place.module({ deviceId: place.name() }));
  assert.deepEqual([said.name, said.status], ['DeviceNotFoundError', 404]);
});
