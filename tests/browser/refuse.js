// A run waits for a yes and gets a no.
'use strict';

const { assert, story } = require('./lib.js');
const { request } = require('./approvals.js');

story(async (open) => {
  const page = await open('bob');
  const address = await request(page, 'DELETE FROM users WHERE id = 2');
  await page.locator('form.decide textarea').fill('not tonight');
  await page.getByRole('button', { name: 'Refuse' }).click();
  await page.waitForURL(/\/approvals\//);
  await page.goto(address);
  const text = await page.locator('main').innerText();
  assert.match(text, /not tonight/);
  assert.match(text, /refused/i);
  assert.equal(await page.getByRole('button', { name: 'Approve' }).count(), 0);
});
