// The step itself: brings guard, then runs the script behind it, or opens a session for the steps that follow.
'use strict';

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const binary = require('./binary');
const { identify } = require('./processes');
const reports = require('./report');
const workflow = require('./workflow');

/** From the start to the open session: the platform and the broker are asked again while they are busy. */
const OPEN_MS = 180_000;

/** The inputs, or an error that says what is wrong with them. */
function inputs() {
  const found = {
    broker: workflow.input('broker-url').replace(/\/+$/, ''),
    resources: workflow.input('resources').split(/[\s,]+/).filter((name) => name !== ''),
    run: workflow.input('run'),
    version: workflow.input('version'),
    binaryPath: workflow.input('binary-path'),
    isolation: workflow.input('isolation'),
    failOn: workflow.input('fail-on') || 'error',
    report: path.resolve(workflow.input('report') || 'guard-report'),
    stopCommands: workflow.input('stop-commands') === 'true',
  };
  if (found.broker === '') {
    throw new Error('name the broker with `broker-url`');
  }
  if (!['error', 'blocked'].includes(found.failOn)) {
    throw new Error('`fail-on` is `error` or `blocked`');
  }
  return found;
}

/** Which session is asked for, and where its report goes. */
function sessionArguments(asked) {
  const args = ['--broker', asked.broker, '--report', asked.report];
  for (const name of asked.resources) {
    args.push('--resource', name);
  }
  return args;
}

/** The arguments of `guard run`, up to the command. */
function guardArguments(asked) {
  const args = ['run', ...sessionArguments(asked)];
  if (asked.isolation !== '') {
    // A guard that does not know the option says so and runs nothing.
    args.push('--isolation', asked.isolation);
  }
  return [...args, '--'];
}

/** Runs the script and waits for its end. */
function wrap(program, args, environment, folder) {
  return new Promise((resolve) => {
    const guard = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit'], env: environment });
    const forward = (signal) => guard.kill(signal);
    process.on('SIGINT', forward);
    process.on('SIGTERM', forward);
    guard.on('spawn', () => {
      fs.writeFileSync(path.join(folder, 'guard.json'), JSON.stringify(identify(guard.pid) ?? null));
    });
    guard.on('error', (error) => {
      workflow.command('error', `guard cannot be started: ${error.message}`);
      resolve(126);
    });
    guard.on('exit', (exitCode) => resolve(exitCode ?? 125));
  });
}

async function runScript(asked, program, folder, before) {
  const script = path.join(folder, 'script.sh');
  fs.writeFileSync(script, `${asked.run}\n`, { mode: 0o600 });
  const environment = { ...process.env };
  // The summary of this step is written once, at its end; the script keeps its own access to it.
  delete environment.GITHUB_STEP_SUMMARY;
  // It has a session of its own, whatever other steps have.
  delete environment.GUARD_SESSION;
  const kept = process.env.GITHUB_STEP_SUMMARY ? [`GITHUB_STEP_SUMMARY=${process.env.GITHUB_STEP_SUMMARY}`] : [];
  const args = [...guardArguments(asked), 'env', ...kept, 'bash', '--noprofile', '--norc', '-eo', 'pipefail', script];
  const exitCode = await workflow.quiet(asked.stopCommands, () => wrap(program, args, environment, folder));
  fs.writeFileSync(path.join(folder, 'exit.json'), JSON.stringify({ exitCode }));
  const found = reports.find(asked.report, before);
  outputs(found, exitCode, asked.broker);
  process.exitCode = exitCode;
  if (exitCode === 0 && found === undefined) {
    throw new Error('guard left no report');
  }
  if (exitCode === 0 && asked.failOn === 'blocked' && found.report.counts.refused > 0) {
    workflow.command('error', `guard refused ${found.report.counts.refused} statement(s)`);
    process.exitCode = 1;
  }
}

/** What other steps can read of this one. */
function outputs(found, exitCode, broker) {
  workflow.output('result', reports.result(found, exitCode));
  if (found === undefined) {
    return;
  }
  workflow.output('session-id', found.report.session);
  workflow.output('blocked-count', found.report.counts.refused);
  workflow.output('masked-count', found.report.counts.masked);
  workflow.output('isolation-level', found.report.isolation?.level ?? '');
  workflow.output('report-path', found.place);
  workflow.output('report-url', `${broker}/runs/${found.report.session}`);
  workflow.output('report-sha256', found.digest);
}

/** Starts the session's agent, and gives its socket. What guard says goes to the step's log, where the runner obeys nothing of it. */
function start(program, args, environment) {
  return new Promise((resolve, reject) => {
    const guard = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: environment, timeout: OPEN_MS });
    const said = { out: '', err: '' };
    guard.stdout.on('data', (bytes) => (said.out += bytes));
    guard.stderr.on('data', (bytes) => {
      said.err += bytes;
      process.stdout.write(bytes);
    });
    guard.on('error', (error) => reject(new Error(`guard cannot be started: ${error.message}`)));
    guard.on('close', (exitCode) => {
      const socket = /^GUARD_SESSION=(.+)$/m.exec(said.out)?.[1];
      if (exitCode !== 0 || socket === undefined) {
        reject(new Error('guard opened no session'));
      } else {
        resolve({ socket, session: /session ([0-9a-f-]{36}) is open/.exec(said.err)?.[1] });
      }
    });
  });
}

async function openSession(asked, program, plan) {
  const args = ['session', 'start', ...sessionArguments(asked)];
  if (process.ppid > 1) {
    // In a container the runner is not to be seen: it ends what is left of the job itself.
    args.push('--parent', String(process.ppid));
  }
  const environment = { ...process.env };
  // A session of another job's, or of a step before, is not this one.
  delete environment.GUARD_SESSION;
  const { socket, session } = await workflow.quiet(true, () => start(program, args, environment));
  workflow.state('plan', JSON.stringify({ ...plan, program, socket }));
  workflow.environment('GUARD_SESSION', socket);
  if (asked.isolation !== '') {
    workflow.environment('GUARD_ISOLATION', asked.isolation);
  }
  if (session !== undefined) {
    workflow.output('session-id', session);
    workflow.output('report-path', path.join(asked.report, session));
    workflow.output('report-url', `${asked.broker}/runs/${session}`);
  }
}

async function main() {
  const asked = inputs();
  const folder = fs.mkdtempSync(path.join(process.env.RUNNER_TEMP || os.tmpdir(), 'guard-'));
  const before = reports.sessions(asked.report);
  // Before anything can fail: what comes after the job has to know where to look.
  const plan = { folder, before, report: asked.report, broker: asked.broker, failOn: asked.failOn, steps: asked.run === '' };
  workflow.state('plan', JSON.stringify(plan));
  const program = await binary.find({
    version: asked.version,
    binaryPath: asked.binaryPath,
    table: require('../checksums.json'),
    folder,
    machine: `${process.platform}-${process.arch}`,
  });
  if (asked.run !== '') {
    await runScript(asked, program, folder, before);
    return;
  }
  const programs = path.join(folder, 'bin');
  fs.mkdirSync(programs);
  fs.symlinkSync(program, path.join(programs, 'guard'));
  workflow.path(programs);
  await openSession(asked, program, plan);
}

module.exports = { guardArguments, outputs };

if (require.main === module) {
  main().catch((error) => {
    workflow.command('error', error.message);
    process.exitCode = 1;
  });
}
