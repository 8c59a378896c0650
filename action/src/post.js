// After the job's steps, whatever happened in them: ends what is still there, and writes the summary.
'use strict';

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { outputs } = require('./main');
const { alive, until } = require('./processes');
const reports = require('./report');
const workflow = require('./workflow');

/** guard drains its connections, has the record sealed and writes its report. */
const CLOSE_MS = 60_000;

function json(file) {
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8'));
  } catch {
    return undefined;
  }
}

/** Ends the session of the steps. Gives guard's exit code. */
async function stop(plan) {
  const environment = { ...process.env };
  // The summary is written once, below.
  delete environment.GITHUB_STEP_SUMMARY;
  const args = ['session', 'stop', '--session', plan.socket, '--report', plan.report];
  const stopping = () => spawnSync(plan.program, args, { stdio: ['ignore', 'inherit', 'inherit'], env: environment, timeout: CLOSE_MS });
  const { status } = await workflow.quiet(true, stopping);
  return status ?? 125;
}

/** Ends a guard whose step was killed. Gives its exit code, if anybody saw it. */
async function close(plan) {
  if (plan.steps) {
    // Without a socket there was never a session.
    return plan.socket === undefined ? undefined : stop(plan);
  }
  const exit = path.join(plan.folder, 'exit.json');
  if (!fs.existsSync(exit)) {
    const guard = json(path.join(plan.folder, 'guard.json')) ?? undefined;
    if (alive(guard)) {
      process.kill(guard.pid, 'SIGTERM');
      await until(CLOSE_MS, () => !alive(guard));
    }
  }
  return json(exit)?.exitCode;
}

async function main() {
  if (!process.env.STATE_plan) {
    workflow.summary(reports.summary(undefined, undefined, ''));
    return;
  }
  const plan = JSON.parse(process.env.STATE_plan);
  const exitCode = await close(plan);
  const found = reports.find(plan.report, plan.before);
  const url = found === undefined ? '' : `${plan.broker}/runs/${found.report.session}`;
  workflow.summary(reports.summary(found, exitCode, url, plan.steps));
  for (const line of reports.annotations(found)) {
    workflow.command('warning', line, { title: 'guard refused a statement' });
  }
  if (plan.steps) {
    outputs(found, exitCode, plan.broker);
    const result = reports.result(found, exitCode);
    if (exitCode !== 0 || (plan.failOn === 'blocked' && result === 'blocked')) {
      workflow.command('error', `guard: ${result}`);
      process.exitCode = 1;
    }
  }
  fs.rmSync(plan.folder, { recursive: true, force: true });
}

main().catch((error) => {
  workflow.command('error', error.message);
  process.exitCode = 1;
});
