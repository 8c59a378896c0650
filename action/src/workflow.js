// The runner's side of an action: inputs, outputs, state, and the commands that it reads in a step's output.
'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');

/** An input's text, without the blanks around it. */
function input(name) {
  return (process.env[`INPUT_${name.toUpperCase()}`] ?? '').trim();
}

/** The value of a workflow command: nothing in it can end the line and begin another command. */
function data(text) {
  return String(text).replace(/%/g, '%25').replace(/\r/g, '%0D').replace(/\n/g, '%0A');
}

/** A property of a workflow command. */
function property(text) {
  return data(text).replace(/:/g, '%3A').replace(/,/g, '%2C');
}

function command(name, text, properties = {}) {
  const list = Object.entries(properties).map(([key, value]) => `${key}=${property(value)}`);
  const head = list.length === 0 ? name : `${name} ${list.join(',')}`;
  process.stdout.write(`::${head}::${data(text)}\n`);
}

/** One entry of a file command. The delimiter is random, so that no value can end itself and set another name. */
function entry(name, value) {
  const delimiter = `guard_${crypto.randomBytes(16).toString('hex')}`;
  return `${name}<<${delimiter}\n${value}\n${delimiter}\n`;
}

function append(variable, text) {
  const file = process.env[variable];
  if (file) {
    fs.appendFileSync(file, text);
  }
}

const output = (name, value) => append('GITHUB_OUTPUT', entry(name, value));
const state = (name, value) => append('GITHUB_STATE', entry(name, value));
const environment = (name, value) => append('GITHUB_ENV', entry(name, value));
const path = (folder) => append('GITHUB_PATH', `${folder}\n`);
const summary = (text) => append('GITHUB_STEP_SUMMARY', text);
const mask = (secret) => command('add-mask', secret);

/** Runs `act` while the runner obeys no command, if that is asked for. */
async function quiet(asked, act) {
  if (!asked) {
    return act();
  }
  const token = crypto.randomBytes(16).toString('hex');
  command('stop-commands', token);
  try {
    return await act();
  } finally {
    process.stdout.write(`\n::${token}::\n`);
  }
}

module.exports = { input, data, property, command, entry, output, state, environment, path, summary, mask, quiet };
