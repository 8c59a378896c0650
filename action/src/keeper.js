// Beside the job's steps: runs guard, keeps its exit code, and ends it when the runner is gone.
'use strict';

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { alive } = require('./processes');

const { folder, program, args, runner } = JSON.parse(process.argv[2]);
const log = fs.openSync(path.join(folder, 'log'), 'a', 0o600);
const guard = spawn(program, args, { stdio: ['ignore', log, log] });
const watching = setInterval(() => {
  if (!alive(runner)) {
    guard.kill('SIGTERM');
  }
}, 1000);

function over(exitCode) {
  clearInterval(watching);
  const file = path.join(folder, 'exit.json');
  fs.writeFileSync(`${file}.part`, JSON.stringify({ exitCode }));
  fs.renameSync(`${file}.part`, file);
}
guard.on('error', () => over(126));
guard.on('exit', (exitCode) => over(exitCode ?? 125));
process.on('SIGTERM', () => guard.kill('SIGTERM'));
