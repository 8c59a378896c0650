// Whatever a job writes stays text: nothing of it runs, loads or becomes an element.
'use strict';

const { URL, assert, look, openNewest, story } = require('./lib.js');

story(async (open) => {
  const page = await open('olga');
  await openNewest(page);
  const id = page.url().match(/[0-9a-f-]{36}/)[0];
  for (const address of ['/runs', `/runs/${id}`, `/runs/${id}?q=${encodeURIComponent('"><script>alert(1)</script>')}`, `/runs/${id}?q=img`,
    `/runs?repository=${encodeURIComponent('"><img src=x onerror=alert(1)>')}`, `/runs?since=${encodeURIComponent('<script>alert(1)</script>')}`,
    `/runs?behind=${encodeURIComponent('<script>alert(1)</script>')}`]) {
    await page.goto(URL + address);
    await page.waitForLoadState('networkidle');
    const made = await page.evaluate(() => [document.querySelectorAll('main script, main img, main iframe, main object, [onerror], [onload], [onclick], main style').length, window.pwned]);
    assert.deepEqual(made, [0, undefined], address);
  }
  await page.goto(`${URL}/runs/${id}`);
  const text = await page.locator('main').innerText();
  assert.ok(text.includes('<img src=x onerror='), text.slice(0, 4000));
  assert.ok(text.includes('<script>window.pwned'), text.slice(0, 4000));
  await look(page, 'markup');
  const csp = (await page.request.get(`${URL}/runs`)).headers()['content-security-policy'];
  assert.match(csp, /default-src 'none'/);
  assert.ok(!/unsafe/.test(csp));
});
