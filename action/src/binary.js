// Finds or fetches the `guard` to use. What is fetched must be what this action's own table says.
'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');

/** A release is some tens of megabytes; what is larger is something else. */
const MAX_BYTES = 256 * 1024 * 1024;
/** For a whole download. */
const DOWNLOAD_MS = 120_000;

function sha256(bytes) {
  return crypto.createHash('sha256').update(bytes).digest('hex');
}

/** What the table says of a version on this kind of machine. */
function expected(table, version, machine) {
  const file = table.releases[version]?.[machine];
  if (!file) {
    throw new Error(
      `this action knows no release \`${version}\` of guard for ${machine}: put \`guard\` on the runner and name it with \`binary-path\``,
    );
  }
  return file;
}

function compare(bytes, wanted, what) {
  const found = sha256(bytes);
  if (found !== wanted) {
    throw new Error(`${what} is not the release: its SHA-256 is ${found} and must be ${wanted}`);
  }
}

async function download(url) {
  const answer = await fetch(url, { signal: AbortSignal.timeout(DOWNLOAD_MS) });
  if (!answer.ok) {
    throw new Error(`${url} answers ${answer.status}`);
  }
  const chunks = [];
  let size = 0;
  for await (const chunk of answer.body) {
    size += chunk.length;
    if (size > MAX_BYTES) {
      throw new Error(`${url} is larger than ${MAX_BYTES} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** The path of the program. With a version and a path, the program at the path must be that release. */
async function find({ version, binaryPath, table, folder, machine }) {
  if (!version && !binaryPath) {
    throw new Error('name a release with `version`, or a `guard` on the runner with `binary-path`');
  }
  if (!binaryPath) {
    const file = expected(table, version, machine);
    const bytes = await download(new URL(file.name, table.address).href);
    compare(bytes, file.sha256, 'what was downloaded');
    const program = path.join(folder, 'guard');
    fs.writeFileSync(program, bytes, { mode: 0o755 });
    return program;
  }
  const program = path.resolve(binaryPath);
  try {
    fs.accessSync(program, fs.constants.X_OK);
  } catch {
    throw new Error(`there is no program \`${program}\` that can be run`);
  }
  if (version) {
    compare(fs.readFileSync(program), expected(table, version, machine).sha256, `\`${program}\``);
  }
  return program;
}

module.exports = { find, sha256 };
