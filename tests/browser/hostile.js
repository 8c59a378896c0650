// Every page of the broker, with markup wherever somebody else's text is shown: it stays text there, and it is there.
'use strict';

const { URL, assert, look, openNewest, story } = require('./lib.js');

const MARKUP = `"'><img src=x onerror=pwn(1)>`;
const SCRIPT = '</title></textarea><script>pwn(1)</script>';
const MADE = 'main script, main img, main iframe, main object, main style, title *, textarea *, [onerror], [onload], [onclick], a[href^="javascript:" i], form[action^="javascript:" i]';

let seen = '';

/// Sees that nothing on a page is of somebody else's making, and keeps what it says.
async function see(page, where) {
  const [made, text, status] = await page.evaluate((selector) => [
    [...document.querySelectorAll(selector)].map((one) => one.outerHTML), document.documentElement.textContent, document.title], MADE);
  assert.deepEqual(made, [], where);
  assert.ok(status.length > 0, `${where} has no title`);
  seen += text;
}

async function visit(page, address, expected = 200) {
  const answer = await page.goto(URL + address);
  assert.equal(answer.status(), expected, address);
  await see(page, address);
}

/// What is wrong with an address is told in a page, too.
async function visitWrong(page) {
  const hostile = encodeURIComponent(MARKUP + SCRIPT);
  for (const address of [`/runs?repository=${hostile}`, `/runs?actor=${hostile}`, `/runs?rule=${hostile}`, `/runs?policy=${hostile}`,
    `/runs?resource=${hostile}`, `/runs?since=${hostile}`, `/runs?until=${hostile}`, `/runs?behind=${hostile}`, `/runs?state=${hostile}`,
    `/runs?decision=${hostile}`, `/runs?${hostile}=1`, `/runs/${hostile}`, `/live/${hostile}`, `/approvals/${hostile}`, `/approvals?behind=${hostile}`,
    `/approvals?state=${hostile}`, `/access/${hostile}`, `/${hostile}`, `/sign-in?to=${encodeURIComponent('javascript:pwn(1)')}`,
    `/sign-in/callback?error=${hostile}&error_description=${hostile}&state=${hostile}`, `/sign-in/callback?code=${hostile}&state=${hostile}`]) {
    const answer = await page.goto(URL + address);
    assert.ok(answer.status() < 500, `${address}: ${answer.status()}`);
    await see(page, address);
  }
}

story(async (open) => {
  const page = await open('bob');
  for (;;) {
    await visit(page, '/approvals');
    if (await page.locator('table.stack tbody tr th a').count()) break;
    await page.waitForTimeout(200);
  }
  await page.locator('table.stack tbody tr th a').first().click();
  await page.waitForURL(/\/approvals\/[0-9a-f-]+$/);
  await see(page, 'the request');
  await look(page, 'hostile-approval');
  const request = page.url().slice(URL.length);
  const run = (await page.locator('nav.jump a[href^="/runs/"]').getAttribute('href'));
  const id = run.slice('/runs/'.length);

  await visit(page, '/runs');
  await visit(page, '/access');
  await visit(page, run);
  await visit(page, `/live/${id}`);
  await page.locator('#feed li', { hasText: 'of-a-column' }).first().waitFor();
  await page.locator('#feed li', { hasText: 'blocked' }).first().waitFor();
  await see(page, 'a live run');
  await look(page, 'hostile-live');
  await visitWrong(page);

  // A reason that is too long is told back, one that is not is kept.
  await visit(page, request);
  await page.locator('form.decide textarea').evaluate((area) => area.removeAttribute('maxlength'));
  await page.locator('form.decide textarea').fill(`${MARKUP}${SCRIPT}`.repeat(200));
  await page.getByRole('button', { name: 'Refuse' }).click();
  await page.waitForLoadState();
  await see(page, 'a decision that does not count');
  await visit(page, request);
  await page.locator('form.decide textarea').fill(`${MARKUP}of-a-reason ${SCRIPT}`);
  await page.getByRole('button', { name: 'Refuse' }).click();
  await page.waitForURL(/\/approvals\//);
  await visit(page, request);
  assert.match(await page.locator('main').innerText(), /of-a-reason/);
  await visit(page, '/approvals');
  process.stdout.write('seen\n');

  const auditor = await open('olga', { apart: true });
  await openNewest(auditor);
  assert.equal(auditor.url(), URL + run);
  await see(auditor, 'the report');
  await look(auditor, 'hostile-run');
  for (const address of ['/runs', '/approvals', request, '/access', `${run}?q=${encodeURIComponent(MARKUP)}`, `${run}?q=${encodeURIComponent(SCRIPT)}`]) {
    await visit(auditor, address);
  }
  // The report that is downloaded has no header that would keep it from anything.
  const report = await (await auditor.request.get(`${URL}${run}/report.html`)).text();
  await auditor.goto('about:blank');
  await auditor.setContent(report);
  await auditor.waitForTimeout(300);
  const made = await auditor.evaluate(() => document.querySelectorAll('script, img, iframe, [onerror], a[href^="javascript:" i]').length);
  assert.equal(made, 0, 'the report');
  for (const which of ['reference', 'workflow', 'repository', 'actor', 'sql', 'table', 'column', 'error', 'comment', 'reason', 'person']) {
    const mark = which === 'repository' ? 'onerror=pwn(1)>/of-a-repository' : `onerror=pwn(1)>of-a-${which}`;
    assert.ok(seen.includes(mark), `no page has the ${which}`);
  }

  const nobody = await open('nils', { apart: true });
  await see(nobody, 'no role');
  assert.match(await nobody.locator('main').innerText(), /onerror=pwn\(1\)/);
  await look(nobody, 'no-role');
  await auditor.goto(`${URL}/runs`);
  await auditor.locator('form.who button').click();
  await auditor.waitForLoadState();
  await see(auditor, 'signed out');
  await look(auditor, 'signed-out');
  for (const [address, name] of [['/nothing', 'not-found'], ['/runs?since=nonsense', 'not-understood'], ['/access', 'access']]) {
    await page.goto(URL + address);
    await look(page, name);
  }
  await nobody.goto(`${URL}/sign-in/callback?error=access_denied&state=x`);
  await look(nobody, 'not-signed-in');
});
