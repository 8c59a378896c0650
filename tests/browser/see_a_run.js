// Somebody signs in, finds a run, reads what it did, searches its statements and takes its record along.
'use strict';

const fs = require('node:fs');
const { URL, assert, look, openNewest, story } = require('./lib.js');

story(async (open) => {
  const page = await open('olga');
  assert.match(await page.locator('header.top').innerText(), /Olga Auditor/);
  await openNewest(page);
  const text = await page.locator('main').innerText();
  for (const part of ['acme/shop', 'blocked unbounded DELETE', 'record verified', 'Who', 'When, and on which authority', 'How far the evidence reaches', 'Over time', 'secret-in-a-literal', 'its seal is leaf']) {
    assert.ok(text.toLowerCase().includes(part.toLowerCase()), `the page does not say ${part}:\n${text.slice(0, 3000)}`);
  }
  assert.match(text, /Compared with the run of/);
  assert.ok(await page.locator('figure.plot svg rect').count() > 0);
  await look(page, 'run');

  await page.getByLabel('Text, object, rule or code').fill('DELETE');
  await page.getByRole('button', { name: 'Search' }).click();
  const rows = page.locator('table.statements tbody tr');
  assert.equal(await rows.count(), 1);
  assert.match(await rows.first().innerText(), /refused/);

  const id = page.url().match(/[0-9a-f-]{36}/)[0];
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'the record itself' }).click()]);
  assert.equal(download.suggestedFilename(), `guard-${id}.record.jsonl`);
  const record = fs.readFileSync(await download.path(), 'utf8');
  fs.writeFileSync(process.env.GUARD_TEST_DOWNLOAD, record);
  for (const name of ['report.html', 'report.json', 'report.md']) {
    const answer = await page.request.get(`${URL}/runs/${id}/${name}`);
    assert.equal(answer.status(), 200);
    assert.match(answer.headers()['content-disposition'], /^attachment; filename="guard-[0-9a-f-]+\.report\.\w+"$/);
  }

  const ocsf = await (await page.request.get(`${URL}/runs/${id}/events.ocsf.jsonl`)).text();
  assert.ok(ocsf.trim().split('\n').map(JSON.parse).some((event) => event.class_uid === 6005), ocsf.slice(0, 500));
  assert.equal((await (await page.request.get(`${URL}/runs/${id}/findings.sarif`)).json()).version, '2.1.0');

  await page.goto(`${URL}/runs?decision=blocked&repository=acme`);
  await look(page, 'runs');
  assert.equal(await page.locator('table.stack tbody tr').count(), 1);
  await page.goto(`${URL}/runs?decision=approved`);
  assert.match(await page.locator('main').innerText(), /0 runs/);
  await page.goto(`${URL}/runs?since=tomorrow`);
  assert.match(await page.locator('[role=alert]').innerText(), /tomorrow/);

  await page.getByRole('button', { name: 'Sign out' }).click();
  assert.match(await page.locator('main').innerText(), /signed out/);
  // The cookie that was is nobody's now; the provider may still know her, and would sign her in again.
  const after = await page.request.get(`${URL}/runs/${id}/report.json`, { headers: { accept: 'application/json' } });
  assert.equal(after.status(), 401);
});
