// What every story needs: a browser, somebody who signs in, and a watch over what must never happen.
'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { chromium } = require('playwright-core');

const URL = process.env.GUARD_URL;
const SHOTS = process.env.GUARD_TEST_SHOTS;
// No story takes longer; the test that started it would wait for ever.
const LONGEST = 120_000;

/// Tells a story in a browser of its own. `tell` gets a function that opens a window for somebody.
function story(tell) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'guard-browser-'));
  const watchdog = setTimeout(() => {
    console.error('the story took too long');
    process.exit(3);
  }, LONGEST);
  const wrong = [];
  (async () => {
    const browser = await chromium.launchPersistentContext(path.join(folder, 'first'), options());
    const others = [];
    const open = async (name, more = {}) => {
      let context = browser;
      if (more.apart) {
        context = await chromium.launchPersistentContext(path.join(folder, `of-${name}`), options());
        others.push(context);
      }
      const page = await context.newPage();
      watch(page, wrong);
      await page.setViewportSize(more.size || { width: 1280, height: 900 });
      if (name) await signIn(page, name);
      return page;
    };
    try {
      await tell(open);
    } finally {
      for (const one of others) await one.close();
      await browser.close();
    }
    assert.deepEqual(wrong, [], 'what a page must never do');
  })().then(
    () => end(0),
    (error) => {
      console.error(error.stack || error);
      if (wrong.length) console.error('besides:', wrong);
      end(1);
    },
  );
  function end(code) {
    clearTimeout(watchdog);
    fs.rmSync(folder, { recursive: true, force: true });
    process.exit(code);
  }
}

function options() {
  return {
    executablePath: process.env.GUARD_TEST_CHROMIUM,
    headless: true,
    // Nothing leaves the machine, and root may start it.
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage'],
    acceptDownloads: true,
  };
}

/// Notes dialogs, violations of the page's own policy, errors of scripts, and requests to elsewhere.
function watch(page, wrong) {
  page.on('dialog', (dialog) => {
    wrong.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on('pageerror', (error) => wrong.push(`an error: ${error}`));
  page.on('console', (message) => {
    if (/Content Security Policy|Refused to/.test(message.text())) wrong.push(message.text());
  });
  page.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith('http://127.0.0.1:') && !url.startsWith(`${URL}/`) && !url.startsWith('data:') && !url.startsWith('blob:')) wrong.push(`a request to ${url}`);
  });
}

/// Goes to a page, is sent to the provider, picks who they are, and comes back.
async function signIn(page, name, to = '/runs') {
  await page.goto(URL + to);
  await page.locator(`button[name="sub"][value="${name}"]`).click();
  await page.waitForURL((url) => url.href.startsWith(URL));
}

/// Waits until the list has a run whose record was read, and opens it.
async function openNewest(page) {
  for (;;) {
    await page.goto(`${URL}/runs?state=over`);
    const row = page.locator('table.stack tbody tr').first();
    if (await row.count() && !/ending|–/.test(await row.innerText())) {
      await row.locator('th a').click();
      await page.waitForURL(/\/runs\/[0-9a-f-]+$/);
      return;
    }
    await page.waitForTimeout(200);
  }
}

/// Keeps pictures of a page at both widths, light and dark, if somebody wants to look at them; and sees that it fits.
async function look(page, name) {
  const before = page.viewportSize();
  for (const width of [1280, 360]) {
    await page.setViewportSize({ width, height: 900 });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= width, `${name} is ${wide} wide at ${width}`);
    if (!SHOTS) continue;
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      await page.screenshot({ path: path.join(SHOTS, `${name}-${width}-${colorScheme}.png`) });
    }
    await page.emulateMedia({ colorScheme: null });
  }
  await page.setViewportSize(before);
}

module.exports = { URL, assert, look, openNewest, options, signIn, story };
