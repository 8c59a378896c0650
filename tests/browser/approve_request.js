// A request to an API waits for a yes: people see method, URL and body.
'use strict';

const { assert, look, story } = require('./lib.js');
const { request } = require('./approvals.js');

story(async (open) => {
  const bob = await open('bob');
  await request(bob, 'DELETE /v1/orders/7');
  const text = await bob.locator('main').innerText();
  for (const part of ['DELETE /v1/orders/7?why=old', '{"reason": "as agreed"}', 'api']) assert.ok(text.includes(part), text);
  await look(bob, 'approval-request');
  await bob.getByRole('button', { name: 'Approve' }).click();
  await bob.waitForURL(/\/approvals\//);
});
