// Twins of devices and modules, by azure-iothub.
'use strict';

const { assert, check, isRefused, plain, refusal } = require('./harness');

const desired = (values) => ({ properties: { desired: values } });

check(async function a_new_twin_is_empty(place) {
  const twin = await place.twin(await place.device());
  assert.deepEqual(
    [twin.tags || {}, plain(twin.properties.desired), plain(twin.properties.reported)], [{}, {}, {}]
  );
  assert.deepEqual([twin.properties.desired.$version, twin.properties.reported.$version], [1, 1]);
});

check(async function tags_and_desired_are_merged_and_null_deletes(place) {
  const made = await place.device();
  await place.patch(made, { tags: { a: 1, b: { c: 2, d: 3 } }, ...desired({ x: { y: 1, z: 2 } }) });
  const twin = await place.patch(made, { tags: { a: null, b: { c: 4 } }, ...desired({ x: { y: null } }) });
  assert.deepEqual([twin.tags, plain(twin.properties.desired)], [{ b: { c: 4, d: 3 } }, { x: { z: 2 } }]);
  assert.equal(twin.properties.desired.$version, 3);
});

check(async function a_twin_updates_itself_with_its_etag(place) {
  const made = await place.device();
  const twin = await place.twin(made);
  const old = twin.etag;
  await twin.update({ tags: { by: 'itself' } });
  assert.notEqual(twin.etag, old);
  assert.deepEqual((await place.twin(made)).tags, { by: 'itself' });
  await twin.update({ tags: { again: 1 } });
  assert.deepEqual((await place.twin(made)).tags, { by: 'itself', again: 1 });
});

check(async function an_old_etag_is_the_clients_invalid_etag_error(place) {
  const made = await place.device();
  const seen = await place.twin(made);
  await place.patch(made, { tags: { by: 'first' } }, seen.etag);
  await isRefused(
    place.patch(made, { tags: { by: 'second' } }, seen.etag), 'InvalidEtagError', 412, 'PreconditionFailed'
  );
  await isRefused(seen.update({ tags: { by: 'third' } }), 'InvalidEtagError', 412, 'PreconditionFailed');
  assert.deepEqual((await place.twin(made)).tags, { by: 'first' });
});

check(async function a_twin_refreshes_itself(place) {
  const made = await place.device();
  const twin = await place.twin(made);
  await place.patch(made, { tags: { later: 1 } });
  await twin.get();
  assert.deepEqual(twin.tags, { later: 1 });
});

check(async function desired_takes_every_kind_of_value(place) {
  const made = await place.device();
  const values = { text: 'Ünïcödé ✓ "\'\\', real: 1.5, big: 2 ** 52, no: false, list: [1, 'a', { b: [2] }] };
  await place.patch(made, desired(values));
  assert.deepEqual(plain((await place.twin(made)).properties.desired), values);
});

check(async function a_module_twin_is_its_own(place) {
  const device = await place.device();
  const made = await place.module(device);
  const twin = await place.patch(made, desired({ a: 1 }));
  assert.deepEqual([twin.moduleId, twin.properties.desired.a], ['m', 1]);
  assert.deepEqual(plain((await place.twin(device)).properties.desired), {});
});

check(async function a_module_twins_old_etag_is_refused(place) {
  const made = await place.module(await place.device());
  const seen = await place.twin(made);
  await place.patch(made, desired({ a: 1 }), seen.etag);
  assert.equal((await refusal(place.patch(made, desired({ a: 2 }), seen.etag))).name, 'InvalidEtagError');
});

check(async function a_twin_of_nothing_is_the_clients_device_not_found_error(place) {
  await isRefused(place.registry.getTwin(place.name()), 'DeviceNotFoundError', 404, 'DeviceNotFound');
});

check(async function a_module_twin_of_nothing_is_not_found(place) {
  const said = await refusal(place.registry.getModuleTwin((await place.device()).deviceId, 'm'));
  assert.deepEqual([said.status, said.code], [404, 'ModuleNotFound']);
});

check(async function desired_deeper_than_10_is_an_argument_error(place) {
  let deep = 1;
  for (let level = 0; level < 11; level += 1) deep = { a: deep };
  const said = await refusal(place.patch(await place.device(), desired({ a: deep })));
  assert.deepEqual([said.name, said.status], ['ArgumentError', 400]);
  assert.doesNotMatch(said.message, /^Error: \{/);
});
