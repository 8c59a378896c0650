// Processes that outlive the one that started them: found again without taking another for them.
'use strict';

const fs = require('node:fs');

/** A process's number and the moment that it started, which together are never used twice. */
function identify(pid) {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // A zombie runs nothing any more.
    return fields[0] === 'Z' ? undefined : { pid: Number(pid), started: fields[19] };
  } catch {
    return undefined;
  }
}

/** Whether it is still there. */
function alive(process) {
  return process !== undefined && identify(process.pid)?.started === process.started;
}

/** Waits until `holds`, at most for so long. */
async function until(milliseconds, holds) {
  const end = Date.now() + milliseconds;
  while (!holds()) {
    if (Date.now() > end) {
      return false;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return true;
}

module.exports = { identify, alive, until };
