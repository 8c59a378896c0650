// What a run left behind, and how the job's page says it.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { sha256 } = require('./binary');

/** The runner drops a step's summary above 1 MiB. */
const MAX_SUMMARY = 1024 * 1024;
/** The runner shows ten annotations of a step. */
const MAX_ANNOTATIONS = 10;
/** An annotation is cut at 4096 characters by the runner. */
const MAX_MESSAGE = 1000;

/** Names of the reports in a folder; each is named after its session. */
function sessions(folder) {
  try {
    return fs.readdirSync(folder);
  } catch {
    return [];
  }
}

/** The report that is there now and was not before, or `undefined`. */
function find(folder, before) {
  const known = new Set(before);
  const name = sessions(folder).find(
    (name) => !known.has(name) && fs.existsSync(path.join(folder, name, 'report.json')),
  );
  if (name === undefined) {
    return undefined;
  }
  const place = path.join(folder, name);
  const json = fs.readFileSync(path.join(place, 'report.json'));
  const markdown = fs.readFileSync(path.join(place, 'report.md'), 'utf8');
  return { place, report: JSON.parse(json), markdown, digest: sha256(json) };
}

/** A text of the job's as a code span of its own: in there nothing means anything. */
function code(text) {
  const line = String(text).replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, ' ');
  const longest = Math.max(0, ...(line.match(/`+/g) ?? []).map((run) => run.length));
  const fence = '`'.repeat(longest + 1);
  return `${fence} ${line} ${fence}`;
}

/** `code` is guard's exit code, or `undefined` if nobody saw its end. */
function result(found, exitCode) {
  if (found === undefined) {
    return 'error';
  }
  if (found.report.counts.refused > 0) {
    return 'blocked';
  }
  // A session can end well while one of its steps was killed in the middle of a statement.
  return exitCode === 0 && !(found.report.counts.lost > 0) ? 'passed' : 'error';
}

function ended(exitCode, steps) {
  if (steps && exitCode === 0) {
    return 'the session was ended and its record is sealed';
  }
  if (exitCode === undefined) {
    return 'guard was ended before its command was';
  }
  return exitCode === 0 ? 'the command succeeded' : `the exit code was ${exitCode}`;
}

/** The step's summary. */
function summary(found, exitCode, reportUrl, steps = false) {
  if (found === undefined) {
    return (
      `### guard: error\n\nThere is no report: ${exitCode === undefined ? 'guard did not run, or was ended before it could write one' : ended(exitCode, steps)}. Nothing of what happened is vouched for here. ` +
      'If there was a session, the broker ends it and seals its record by itself.\n'
    );
  }
  const { report, markdown, digest, place } = found;
  const level = report.isolation?.level;
  const tail = [
    '',
    `Result: **${result(found, exitCode)}**; ${ended(exitCode, steps)}.`,
    '',
    `- isolation: ${level === undefined ? 'not told' : code(level)}`,
    `- report: ${code(place)}${reportUrl === '' ? '' : `, and at the broker ${code(reportUrl)}`}`,
    `- SHA-256 of ${code('report.json')}: ${code(digest)}`,
    '',
  ].join('\n');
  const whole = markdown + tail;
  if (Buffer.byteLength(whole) < MAX_SUMMARY) {
    return whole;
  }
  return `### guard: ${Number(report.counts.refused)} refused\n\nThe report is too long for this page.\n${tail}`;
}

/** What was refused, in lines for annotations. */
function annotations(found) {
  if (found === undefined) {
    return [];
  }
  const lines = found.report.refused.listed.map(
    ({ code: number, denial, resource, count }) =>
      `${resource}: ${denial.what} is blocked by rule ${denial.rule} of policy ${denial.policy} (${number}), ${count} times`,
  );
  const shown = lines.length > MAX_ANNOTATIONS ? lines.slice(0, MAX_ANNOTATIONS - 1) : lines;
  if (shown.length < lines.length) {
    shown.push(`${lines.length - shown.length} more: see the report`);
  }
  return shown.map((line) => line.slice(0, MAX_MESSAGE));
}

module.exports = { sessions, find, code, result, summary, annotations };
