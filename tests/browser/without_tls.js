// Somebody signs in at a broker on this machine that has no TLS, is known on the next page, and signs out.
'use strict';

const { URL, assert, story } = require('./lib.js');

story(async (open) => {
  const page = await open('ann');
  await page.goto(`${URL}/approvals`);
  assert.match(await page.locator('header.top').innerText(), /Ann Approver/);
  const [cookie] = (await page.context().cookies(URL)).filter(({ name }) => name === '__Host-guard');
  assert.ok(cookie && cookie.secure && cookie.httpOnly, JSON.stringify(cookie));
  assert.equal(await page.evaluate(() => document.cookie), '');
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByText('You are signed out').waitFor();
  // The provider may know them still, this broker does not.
  const left = (await page.context().cookies(URL)).filter(({ name }) => name === '__Host-guard');
  assert.deepEqual(left, []);
});
