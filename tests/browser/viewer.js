// Who may look and no more sees what a run did, and none of the values; who has no role sees nothing.
'use strict';

const { URL, assert, look, openNewest, story } = require('./lib.js');

story(async (open) => {
  const page = await open('vera');
  await openNewest(page);
  const html = await page.content();
  assert.ok(html.includes('blocked unbounded DELETE'));
  assert.ok(!html.includes('secret-in-a-literal'), 'a literal is shown');
  assert.match(await page.locator('main').innerText(), /auditors and admins see them/);
  await look(page, 'viewer');
  const id = page.url().match(/[0-9a-f-]{36}/)[0];
  for (const name of ['record.jsonl', 'events.ocsf.jsonl', 'findings.sarif']) {
    assert.equal((await page.request.get(`${URL}/runs/${id}/${name}`)).status(), 403);
  }
  for (const name of ['report.html', 'report.json', 'report.md']) {
    const answer = await page.request.get(`${URL}/runs/${id}/${name}`);
    assert.equal(answer.status(), 200);
    assert.ok(!(await answer.text()).includes('secret-in-a-literal'), name);
  }
  // What is not shown cannot be guessed by searching for it either.
  await page.goto(`${URL}/runs/${id}?q=secret-in-a-literal`);
  assert.equal(await page.locator('table.statements tbody tr').count(), 0);

  const nobody = await open('', { apart: true });
  await nobody.goto(`${URL}/runs/${id}`);
  await nobody.locator('button[value="nils"]').click();
  await nobody.waitForURL((url) => url.href.startsWith(URL));
  assert.match(await nobody.locator('main').innerText(), /no(ne)? .*role/i);
  assert.equal((await nobody.request.get(`${URL}/runs/${id}/report.json`)).status(), 403);
});
