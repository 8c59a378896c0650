// Finding what waits.
'use strict';

const { URL } = require('./lib.js');

/// Waits until something is asked about this statement, and opens it. Gives its address.
async function request(page, statement) {
  for (;;) {
    await page.goto(`${URL}/approvals`);
    const row = page.locator('table.stack tbody tr', { hasText: statement }).first();
    if (await row.count()) {
      await row.locator('th a').click();
      await page.waitForURL(/\/approvals\/[0-9a-f-]+$/);
      return page.url();
    }
    await page.waitForTimeout(200);
  }
}

module.exports = { request };
