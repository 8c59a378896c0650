// A run waits for a yes. Who started it cannot give it, by the page or around it; somebody else can.
'use strict';

const { URL, assert, look, story } = require('./lib.js');
const { request } = require('./approvals.js');

story(async (open) => {
  const own = await open('ann');
  const address = await request(own, 'DELETE FROM users WHERE id = 1');
  assert.match(await own.locator('main').innerText(), /You cannot decide/);
  assert.equal(await own.getByRole('button', { name: 'Approve' }).count(), 0);
  await look(own, 'approval-own');
  // The same by hand, with all that her pages have.
  const csrf = await own.locator('form.who input[name=csrf]').getAttribute('value');
  const form = { csrf, decision: 'approve', reason: 'it is mine' };
  const forged = await own.request.post(address, { form, headers: { origin: URL }, maxRedirects: 0 });
  assert.equal(forged.status(), 409);
  assert.match(await forged.text(), /does not count/);

  const other = await open('bob', { apart: true });
  await request(other, 'DELETE FROM users WHERE id = 1');
  assert.match(await other.locator('main').innerText(), /about [\d,]+, by the server's planner/);
  await look(other, 'approval');
  // Another site's form has the cookie at most, and that is not enough.
  for (const [more, headers] of [[{}, { origin: URL }], [{ csrf }, { origin: URL }],
    [{ csrf: await other.locator('form.decide input[name=csrf]').getAttribute('value') }, { origin: 'https://evil.example' }]]) {
    const answer = await other.request.post(address, { form: { decision: 'approve', reason: '', ...more }, headers, maxRedirects: 0 });
    assert.equal(answer.status(), 403);
  }
  await other.locator('form.decide textarea').fill('one row, as agreed');
  await other.getByRole('button', { name: 'Approve' }).click();
  await other.waitForURL(/\/approvals\//);
  for (;;) {
    await other.goto(address);
    const text = await other.locator('main').innerText();
    assert.match(text, /Bob Approver/);
    if (/counts for nothing more/.test(text)) break;
    await other.waitForTimeout(200);
  }
  assert.equal(await other.getByRole('button', { name: 'Approve' }).count(), 0);
  // Used is used.
  const again = { csrf: await other.locator('form.who input[name=csrf]').getAttribute('value'), decision: 'approve', reason: '' };
  assert.equal((await other.request.post(address, { form: again, headers: { origin: URL }, maxRedirects: 0 })).status(), 409);
  await other.goto(`${URL}/approvals`);
  await look(other, 'approvals');
});
