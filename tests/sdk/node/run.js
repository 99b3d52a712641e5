// Runs checks with azure-iothub and azure-iot-device; NODE_PATH says where they are.
//
// Arguments: the files beside this one that hold the checks. First line of standard input: a JSON object with what
// a Place is made of and `checks`, the names wanted. Says a JSON line for each check: its name and how long it took
// when it held, else why it failed, or why it was skipped.
'use strict';

const { Place, checks, inTime, nextLine, say } = require('./harness');

const CHECK_MS = 120_000;
const THROTTLED_MS = 60_000;

async function main(files) {
  const given = JSON.parse(await nextLine());
  for (const file of files) require(`./${file}`);
  const place = new Place(given);
  try {
    for (const name of given.checks) await run(name, checks.get(name), place, true);
  } finally {
    if (!place.isHere) await place.sweep();
  }
  process.exit(0);
}

/** Says how one check went; after Azure's own throttling it is tried once more. */
async function run(name, { body, hereOnly }, place, again) {
  if (hereOnly && !place.isHere) {
    say({ check: name, skipped: 'only our hub has this' });
    return;
  }
  const began = Date.now();
  try {
    await inTime(body(place), name, CHECK_MS);
  } catch (error) {
    if (again && error.response && error.response.statusCode === 429) {
      await new Promise((resolve) => setTimeout(resolve, THROTTLED_MS));
      await run(name, { body, hereOnly }, place, false);
      return;
    }
    say({ check: name, failed: `${error.stack}\n${error.responseBody || ''}` });
    return;
  }
  say({ check: name, s: (Date.now() - began) / 1000 });
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
