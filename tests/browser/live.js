// A run is followed while it happens: statements as they come, refusals with their reason, and its end.
'use strict';

const { URL, assert, look, story } = require('./lib.js');

story(async (open) => {
  const page = await open('olga');
  await page.goto(`${URL}/runs?state=live`);
  const row = page.locator('table.stack tbody tr').first();
  await row.getByRole('link', { name: 'watch' }).click();
  await page.waitForURL(/\/live\//);
  const live = page.url();
  await page.locator('#feed li', { hasText: 'SELECT' }).first().waitFor();
  await page.locator('#feed li', { hasText: 'blocked unbounded DELETE' }).first().waitFor();
  await page.locator('#state', { hasText: 'live' }).waitFor();
  await look(page, 'live');
  const made = await page.evaluate(() => [document.querySelectorAll('#feed img, #feed script').length, window.pwned]);
  assert.deepEqual(made, [0, undefined]);
  // Some windows of one person are enough: another stream is not opened.
  const cookies = { timeout: 3_000, headers: { accept: 'text/event-stream' } };
  const pages = [];
  for (let more = 0; more < 3; more += 1) {
    const other = await page.context().newPage();
    await other.goto(live);
    await other.locator('#state', { hasText: 'live' }).waitFor();
    pages.push(other);
  }
  assert.equal((await page.request.get(`${live}/events`, cookies)).status(), 429);
  for (const other of pages) await other.close();
  process.stdout.write('seen\n');
  await page.locator('#state', { hasText: 'over' }).waitFor();
  await page.goto(live);
  await page.waitForURL(/\/runs\//);
});
