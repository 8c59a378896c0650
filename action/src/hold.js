// The command of a session for several steps: says what its environment is, and stays until it is told to stop.
'use strict';

const fs = require('node:fs');
const path = require('node:path');

const folder = process.argv[2];
const given = Object.entries(process.env).filter(
  ([name]) => /^GUARD_[A-Z0-9_]+_URL$/.test(name) || ['PGHOST', 'PGPORT', 'PGUSER', 'PGPASSWORD', 'PGDATABASE', 'PGSSLMODE', 'DATABASE_URL'].includes(name),
);
const ready = path.join(folder, 'environment.json');
fs.writeFileSync(`${ready}.part`, JSON.stringify(given.filter(([name]) => name !== 'GUARD_BROKER_URL')), { mode: 0o600 });
fs.renameSync(`${ready}.part`, ready);
setInterval(() => {
  if (fs.existsSync(path.join(folder, 'stop')) || !fs.existsSync(folder)) {
    process.exit(0);
  }
}, 100);
