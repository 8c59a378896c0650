// How long a page takes until it can be used: opened again and again, each time in a window of its own.
'use strict';

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { chromium } = require('playwright-core');
const { openNewest, options, signIn } = require('./lib.js');

const ROUNDS = Number(process.env.GUARD_BENCH_ROUNDS || 5);
// A file's address, or nothing: then it is the page of the newest run of the broker at GUARD_URL.
const FILE = process.env.GUARD_BENCH_FILE;

/// When the page was read, loaded, painted, and laid out to its end.
async function opened(context, address) {
  const page = await context.newPage();
  await page.goto(address, { waitUntil: 'load', timeout: 120_000 });
  const figures = await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => setTimeout(() => {
    const height = document.body.getBoundingClientRect().height;
    const usable = performance.now();
    const way = performance.getEntriesByType('navigation')[0];
    const painted = performance.getEntriesByName('first-contentful-paint')[0];
    done({
      answered: way.responseEnd, ready: way.domContentLoadedEventEnd, loaded: way.loadEventEnd,
      painted: painted ? painted.startTime : null, usable, bytes: way.decodedBodySize, height,
      elements: document.querySelectorAll('*').length,
    });
  }))));
  await page.close();
  return figures;
}

(async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'guard-browser-'));
  const context = await chromium.launchPersistentContext(folder, options());
  try {
    let address = FILE;
    if (!address) {
      const page = await context.newPage();
      await signIn(page, 'olga');
      await openNewest(page);
      address = page.url();
      await page.close();
    }
    const rounds = [];
    for (let round = 0; round < ROUNDS; round += 1) rounds.push(await opened(context, address));
    const medians = {};
    for (const name of Object.keys(rounds[0])) {
      const values = rounds.map((round) => round[name]).sort((one, other) => one - other);
      medians[name] = values[Math.floor(values.length / 2)];
    }
    console.log(JSON.stringify({ first: rounds[0], medians }));
  } finally {
    await context.close();
    fs.rmSync(folder, { recursive: true, force: true });
  }
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
