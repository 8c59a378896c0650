'use strict';

const assert = require('node:assert/strict');
const { spawn, spawnSync } = require('node:child_process');
const crypto = require('node:crypto');
const fs = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const binary = require('../src/binary');
const reports = require('../src/report');
const workflow = require('../src/workflow');

const SESSION = '01890000-0000-7000-8000-000000000001';
const SOURCE = path.join(__dirname, '..', 'src');

/** What a runner does around the two halves of an action, with a `guard` that leaves a report as it is told. */
class Runner {
  constructor(t, { inputs = {}, refused = 0, report = true, opens = true, stopped = 0 } = {}) {
    this.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'guard-action-test-'));
    t.after(() => fs.rmSync(this.folder, { recursive: true, force: true }));
    const guard = path.join(this.folder, 'guard');
    fs.writeFileSync(
      guard,
      `#!/bin/sh
echo "$@" >> "${this.folder}/called"
leave() {
  if ${report}; then
    mkdir -p "$folder/${SESSION}"
    cp "${this.folder}/report.json" "${this.folder}/report.md" "$folder/${SESSION}/"
  fi
}
if [ "$1" = session ]; then
  if [ "$2" = start ]; then
    echo "guard: session ${SESSION} is open for the runs that follow" >&2
    ${opens} || exit 125
    echo GUARD_SESSION=/run/guard-x/agent.sock
    exit
  fi
  [ "$4" = /run/guard-x/agent.sock ] || exit 125
  folder=$6
  leave
  exit ${stopped}
fi
echo "guard: acme/shop may reach nothing (session ${SESSION})" >&2
folder=
while [ "$1" != -- ]; do [ "$1" = --report ] && folder=$2; shift; done
shift
export PGPASSWORD=of-this-run PGHOST=/run/guard
trap 'kill -TERM $child; wait $child' TERM
"$@" & child=$!
wait $child; code=$?
leave
exit $code
`,
      { mode: 0o755 },
    );
    const line = {
      code: 'GRD-2103',
      resource: 'orders',
      count: 1,
      denial: { what: 'DELETE\n::error::forged', rule: 'default-deny', policy: 'nightly' },
    };
    const counts = { refused, masked: 3 };
    const listed = Array.from({ length: refused }, () => line);
    fs.writeFileSync(path.join(this.folder, 'report.json'), JSON.stringify({ session: SESSION, counts, refused: { listed } }));
    fs.writeFileSync(path.join(this.folder, 'report.md'), `### guard: ${refused} refused\n`);
    this.environment = { PATH: process.env.PATH, RUNNER_TEMP: this.folder, PARENT: String(process.pid) };
    for (const name of ['OUTPUT', 'STATE', 'ENV', 'PATH', 'STEP_SUMMARY']) {
      this.environment[`GITHUB_${name}`] = path.join(this.folder, name);
      fs.writeFileSync(path.join(this.folder, name), '');
    }
    const all = { 'broker-url': 'https://guard.example.com/', 'binary-path': guard, report: path.join(this.folder, 'reports'), ...inputs };
    for (const [name, value] of Object.entries(all)) {
      this.environment[`INPUT_${name.toUpperCase()}`] = value;
    }
  }

  read(name) {
    return fs.readFileSync(path.join(this.folder, name), 'utf8');
  }

  /** The entries of a file command, as a runner reads them. */
  entries(name) {
    const found = {};
    const lines = this.read(name).split('\n');
    for (let at = 0; at < lines.length && lines[at] !== ''; at += 1) {
      const [key, delimiter] = lines[at].split('<<');
      const value = [];
      for (at += 1; lines[at] !== delimiter; at += 1) {
        value.push(lines[at]);
      }
      found[key] = value.join('\n');
    }
    return found;
  }

  half(name) {
    const state = this.entries('STATE').plan;
    const env = name === 'post.js' && state !== undefined ? { ...this.environment, STATE_plan: state } : this.environment;
    return spawnSync(process.execPath, [path.join(SOURCE, name)], { env, encoding: 'utf8', timeout: 20_000 });
  }
}

test('a script that passes: its outputs, and a summary with the digest', (t) => {
  const runner = new Runner(t, { inputs: { run: 'echo "from the script: $PGHOST"' } });
  const main = runner.half('main.js');
  assert.equal(main.status, 0, main.stdout + main.stderr);
  assert.match(main.stdout, /from the script: \/run\/guard/);
  const outputs = runner.entries('OUTPUT');
  assert.equal(outputs.result, 'passed');
  assert.equal(outputs['session-id'], SESSION);
  assert.equal(outputs['masked-count'], '3');
  assert.equal(outputs['report-url'], `https://guard.example.com/runs/${SESSION}`);
  assert.equal(outputs['report-sha256'], crypto.createHash('sha256').update(runner.read('report.json')).digest('hex'));
  const post = runner.half('post.js');
  assert.equal(post.status, 0, post.stdout + post.stderr);
  assert.match(runner.read('STEP_SUMMARY'), /Result: \*\*passed\*\*/);
  assert.ok(runner.read('STEP_SUMMARY').includes(outputs['report-sha256']));
});

test('the exit code of the script is the step\'s, and refused statements fail it only if that is asked for', (t) => {
  assert.equal(new Runner(t, { inputs: { run: 'exit 7' } }).half('main.js').status, 7);
  assert.equal(new Runner(t, { inputs: { run: 'false; true' } }).half('main.js').status, 1);
  assert.equal(new Runner(t, { refused: 1, inputs: { run: 'true' } }).half('main.js').status, 0);
  const strict = new Runner(t, { refused: 1, inputs: { run: 'true', 'fail-on': 'blocked' } });
  assert.equal(strict.half('main.js').status, 1);
  assert.equal(strict.entries('OUTPUT').result, 'blocked');
});

test('at most ten annotations, and what the job chose cannot be a command', (t) => {
  const runner = new Runner(t, { refused: 40, inputs: { run: 'true' } });
  runner.half('main.js');
  const lines = runner.half('post.js').stdout.split('\n').filter((line) => line.startsWith('::'));
  assert.equal(lines.filter((line) => line.startsWith('::warning')).length, 10);
  assert.ok(!lines.some((line) => line.startsWith('::error')));
  assert.match(lines.at(-1), /31 more/);
});

test('a run without a report is an error, whatever its exit code', (t) => {
  const runner = new Runner(t, { report: false, inputs: { run: 'true' } });
  assert.notEqual(runner.half('main.js').status, 0);
  assert.equal(runner.entries('OUTPUT').result, 'error');
  runner.half('post.js');
  assert.match(runner.read('STEP_SUMMARY'), /There is no report/);
});

test('a step that fails before it has begun still has a summary that says so', (t) => {
  const runner = new Runner(t, { inputs: { run: 'true', 'binary-path': '/nowhere' } });
  const main = runner.half('main.js');
  assert.equal(main.status, 1);
  assert.match(main.stdout, /^::error::there is no program/m);
  runner.half('post.js');
  assert.match(runner.read('STEP_SUMMARY'), /There is no report/);
});

test('a step that is killed: guard is ended, its report is read, and nothing is called a success', async (t) => {
  const runner = new Runner(t, { inputs: { run: 'touch "$RUNNER_TEMP/running"; exec sleep 600' } });
  const main = spawn(process.execPath, [path.join(SOURCE, 'main.js')], { env: runner.environment, stdio: 'ignore' });
  while (!fs.existsSync(path.join(runner.folder, 'running'))) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  main.kill('SIGKILL');
  await new Promise((resolve) => main.on('exit', resolve));
  const post = runner.half('post.js');
  assert.equal(post.status, 0, post.stdout + post.stderr);
  assert.match(runner.read('STEP_SUMMARY'), /Result: \*\*error\*\*; guard was ended before/);
});

test('a session for the steps that follow, closed at the end', (t) => {
  const runner = new Runner(t, { refused: 1, inputs: { resources: 'orders, archive', isolation: 'landlock' } });
  const main = runner.half('main.js');
  assert.equal(main.status, 0, main.stdout + main.stderr);
  assert.match(main.stdout, /^::stop-commands::[0-9a-f]+$/m);
  assert.deepEqual(runner.entries('ENV'), { GUARD_SESSION: '/run/guard-x/agent.sock', GUARD_ISOLATION: 'landlock' });
  assert.equal(runner.entries('OUTPUT')['session-id'], SESSION);
  assert.ok(fs.existsSync(path.join(runner.read('PATH').trim(), 'guard')));
  assert.match(runner.read('called'), new RegExp(`^session start --broker \\S+ --report \\S+ --resource orders --resource archive --parent ${process.pid}$`, 'm'));
  const post = runner.half('post.js');
  assert.equal(post.status, 0, post.stdout + post.stderr);
  assert.match(runner.read('STEP_SUMMARY'), /Result: \*\*blocked\*\*; the session was ended and its record is sealed/);
  assert.ok(!fs.existsSync(JSON.parse(runner.entries('STATE').plan).folder));
});

test('refused statements of the steps fail the job in its last half if that is asked for', (t) => {
  const runner = new Runner(t, { refused: 1, inputs: { 'fail-on': 'blocked' } });
  assert.equal(runner.half('main.js').status, 0);
  assert.equal(runner.half('post.js').status, 1);
});

test('a session that could not be opened fails its step, and nothing is called a success', (t) => {
  const runner = new Runner(t, { opens: false });
  const main = runner.half('main.js');
  assert.equal(main.status, 1);
  assert.match(main.stdout, /^::error::guard opened no session$/m);
  assert.deepEqual(runner.entries('ENV'), {});
  const post = runner.half('post.js');
  assert.equal(post.status, 1);
  assert.match(runner.read('STEP_SUMMARY'), /There is no report/);
});

test('a session whose agent was killed fails the job', (t) => {
  const runner = new Runner(t, { stopped: 125, report: false });
  assert.equal(runner.half('main.js').status, 0);
  const post = runner.half('post.js');
  assert.equal(post.status, 1);
  assert.match(post.stdout, /^::error::guard: error$/m);
  assert.match(runner.read('STEP_SUMMARY'), /There is no report: the exit code was 125/);
});

test('a program that is not the release is refused', async (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'guard-action-test-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  const server = http.createServer((_, answer) => answer.end('program')).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await new Promise((resolve) => server.on('listening', resolve));
  const table = (digest) => ({
    address: `http://127.0.0.1:${server.address().port}/`,
    releases: { '1.0.0': { 'linux-x64': { name: 'guard', sha256: digest } } },
  });
  const ask = { version: '1.0.0', binaryPath: '', folder, machine: 'linux-x64' };
  await assert.rejects(binary.find({ ...ask, table: table('0'.repeat(64)) }), /must be 0{64}/);
  assert.ok(!fs.existsSync(path.join(folder, 'guard')));
  const program = await binary.find({ ...ask, table: table(binary.sha256('program')) });
  assert.equal(fs.readFileSync(program, 'utf8'), 'program');
  await assert.rejects(binary.find({ ...ask, binaryPath: program, table: table('0'.repeat(64)) }), /is not the release/);
  await assert.rejects(binary.find({ ...ask, version: '9', table: table('') }), /binary-path/);
});

test('a value cannot end its entry, a command or a code span', () => {
  assert.equal(workflow.data('a%\r\n::x'), 'a%25%0D%0A::x');
  assert.equal(workflow.property('a:b,c'), 'a%3Ab%2Cc');
  assert.notEqual(workflow.entry('a', 'b').split('\n')[0], workflow.entry('a', 'b').split('\n')[0]);
  assert.equal(reports.code('a``b\n<img>'), '``` a``b <img> ```');
});

test('a summary stays below what the runner takes', () => {
  const report = { counts: { refused: 2 }, refused: { listed: [] } };
  const found = { report, markdown: 'x'.repeat(2 * 1024 * 1024), digest: 'd', place: '/p' };
  assert.ok(Buffer.byteLength(reports.summary(found, 0, '')) < 10_000);
});
