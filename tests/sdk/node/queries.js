// The query language, by azure-iothub.
'use strict';

const { assert, check, refusal } = require('./harness');

/** New devices that carry `tags.run` = a value of their own; their ids and that value. */
async function tagged(place, count) {
  const run = place.name();
  const names = [];
  for (let number = 0; number < count; number += 1) {
    const made = await place.device();
    await place.patch(made, { tags: { run, n: number } });
    names.push(made.deviceId);
  }
  return { run, names: names.sort() };
}

const ids = (rows) => rows.map((row) => row.deviceId).sort();

check(async function a_tag_finds_its_devices(place) {
  const { run, names } = await tagged(place, 2);
  await tagged(place, 1);
  await place.settles(async () => ids(await place.rows(`SELECT * FROM devices WHERE tags.run = '${run}'`)), names);
});

check(async function pages_have_the_size_asked_for_and_end(place) {
  const { run, names } = await tagged(place, 5);
  const text = `SELECT * FROM devices WHERE tags.run = '${run}'`;
  await place.settles(async () => (await place.rows(text)).length, 5);
  const query = place.registry.createQuery(text, 2);
  const pages = [];
  while (query.hasMoreResults) pages.push((await query.nextAsTwin()).result);
  assert.deepEqual(pages.map((page) => page.length).filter(Boolean), [2, 2, 1]);
  assert.deepEqual(ids(pages.flat()), names);
});

check(async function a_full_last_page_ends_the_query(place) {
  const { run, names } = await tagged(place, 4);
  const text = `SELECT * FROM devices WHERE tags.run = '${run}'`;
  await place.settles(async () => ids(await place.rows(text, 2)), names);
});

check(async function rows_are_twins_that_can_be_changed(place) {
  const { run, names } = await tagged(place, 1);
  const text = `SELECT * FROM devices WHERE tags.run = '${run}'`;
  await place.settles(async () => ids(await place.rows(text)), names);
  const [twin] = (await place.registry.createQuery(text).nextAsTwin()).result;
  await twin.update({ tags: { changed: true } });
  assert.equal((await place.twin({ deviceId: names[0] })).tags.changed, true);
});

check(async function a_continuation_goes_on_where_it_was_left(place) {
  const { run, names } = await tagged(place, 3);
  const text = `SELECT * FROM devices WHERE tags.run = '${run}'`;
  await place.settles(async () => (await place.rows(text)).length, 3);
  const first = place.registry.createQuery(text, 2);
  const begun = (await first.next()).result;
  const other = place.registry.createQuery(text, 2);
  const rest = (await other.next(first.continuationToken)).result;
  assert.deepEqual(ids([...begun, ...rest]), names);
});

check(async function a_projection_gives_what_it_names(place) {
  const { run, names } = await tagged(place, 1);
  const text = `SELECT deviceId, tags.n AS number FROM devices WHERE tags.run = '${run}'`;
  await place.settles(() => place.rows(text), [{ deviceId: names[0], number: 0 }]);
});

check(async function a_count_is_one_row(place) {
  const { run } = await tagged(place, 3);
  await place.settles(
    () => place.rows(`SELECT COUNT() AS devices FROM devices WHERE tags.run = '${run}'`), [{ devices: 3 }]
  );
});

check(async function groups_are_counted(place) {
  const { run } = await tagged(place, 3);
  const text = `SELECT tags.n AS n, COUNT() AS devices FROM devices WHERE tags.run = '${run}' GROUP BY tags.n`;
  const rows = async () => (await place.rows(text)).sort((a, b) => a.n - b.n);
  await place.settles(rows, [0, 1, 2].map((n) => ({ n, devices: 1 })));
});

check(async function modules_are_asked_for(place) {
  const device = await place.device();
  for (const name of ['a', 'b']) await place.module(device, name);
  const text = `SELECT * FROM devices.modules WHERE deviceId = '${device.deviceId}' AND moduleId = 'b'`;
  await place.settles(async () => (await place.rows(text)).map((row) => row.moduleId), ['b']);
});

check(async function nothing_found_ends_at_once(place) {
  const query = place.registry.createQuery(`SELECT * FROM devices WHERE tags.run = '${place.name()}'`);
  assert.deepEqual((await query.next()).result, []);
  assert.equal(query.hasMoreResults, false);
});

check(async function a_query_that_is_none_is_an_argument_error(place) {
  const said = await refusal(place.rows('SELECT * FROM devices WHERE'));
  assert.deepEqual([said.name, said.status], ['ArgumentError', 400]);
  assert.doesNotMatch(said.message, /[{}]/);
});
