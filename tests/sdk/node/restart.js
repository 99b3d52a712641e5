// The hub is killed and comes back: what azure-iot-device has subscribed to goes on by itself.
'use strict';

const { answerMethods, ask, assert, becomes, checkHere, patches, report } = require('./harness');

checkHere(async function everything_goes_on_after_the_hub_was_killed(place) {
  const device = await place.device();
  const made = await place.module(device);
  await place.connected(device, (client) =>
    place.connected(made, async (module_) => {
      const [told, heard] = [await patches(client), await patches(module_)];
      answerMethods(client);
      answerMethods(module_);
      assert.deepEqual((await place.call(device, 'echo', 0)).payload, { echo: 0 });
      await ask('kill');
      await ask('start');
      const state = async () => (await place.shown(device)).connectionState;
      await becomes(state, 'Connected');
      const modules = async () => (await place.registry.getModule(device.deviceId, 'm')).responseBody;
      await becomes(async () => (await modules()).connectionState, 'Connected');

      await place.desire(device, { n: 2 });
      assert.equal((await told.take((patch) => 'n' in patch)).n, 2);
      await place.desire(made, { n: 3 });
      assert.equal((await heard.take((patch) => 'n' in patch)).n, 3);
      assert.deepEqual((await place.call(device, 'echo', 1)).payload, { echo: 1 });
      assert.deepEqual((await place.call(made, 'echo', 2)).payload, { echo: 2 });
      await report(told.twin, { after: 'kill' });
      assert.deepEqual(await place.reported(device), { after: 'kill' });
    })
  );
});
