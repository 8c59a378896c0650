// Follows a run: each event of the stream becomes a line. Texts of the job are texts here, never markup.
"use strict";
const page = document.querySelector(".live[data-events]");
const byId = (id) => document.getElementById(id);
const KEEP = 300;
const tones = { refused: "bad", "would be refused": "warn", masked: "mask", approved: "good" };
const grouped = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, "\u202f");
const lines = new Map();

function piece(name, className, text) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.textContent = text;
  return element;
}

function say(words, tone) {
  const state = byId("state");
  state.textContent = words;
  state.className = "chip " + tone;
}

function show(line) {
  const item = document.createElement("li");
  const time = piece("time", "soft", line.at.slice(11, 19));
  time.dateTime = line.at;
  time.title = line.at;
  const code = piece("code", "", line.text);
  code.tabIndex = 0;
  item.append(time, piece("span", "chip " + (tones[line.fate] || ""), line.fate), code, piece("span", "soft n facts", line.facts || ""));
  if (line.why) item.append(piece("span", "why", line.why));
  const feed = byId("feed");
  feed.prepend(item);
  if (line.key) lines.set(line.key, item);
  while (feed.children.length > KEEP) feed.lastElementChild.remove();
  if (lines.size > KEEP * 2) for (const [key, old] of lines) if (!old.isConnected) lines.delete(key);
}

function finish(told) {
  const item = lines.get(told.key);
  if (!item) return;
  item.querySelector(".facts").textContent = told.facts;
  lines.delete(told.key);
}

function count(totals) {
  for (const name of ["statements", "refused", "masked", "rows"]) byId(name).textContent = grouped(totals[name]);
}

function waiting(asked) {
  const list = byId("waiting");
  let item = list.querySelector(`[data-approval="${CSS.escape(asked.approval)}"]`);
  if (asked.decided) {
    if (item) item.remove();
  } else if (!item) {
    item = document.createElement("li");
    item.dataset.approval = asked.approval;
    const link = piece("a", "", asked.text);
    link.href = "/approvals/" + encodeURIComponent(asked.approval);
    item.append(link);
    list.querySelector("ul").append(item);
  }
  list.hidden = list.querySelectorAll("li").length === 0;
}

if (page) {
  const stream = new EventSource(page.dataset.events);
  const on = (name, act) => stream.addEventListener(name, (event) => act(JSON.parse(event.data)));
  stream.onopen = () => say("live", "good");
  stream.onerror = () => say(stream.readyState === EventSource.CLOSED ? "not followed any more" : "connecting again", "warn");
  on("line", show);
  on("finished", finish);
  on("totals", count);
  on("approval", waiting);
  on("end", (told) => {
    stream.close();
    say("over: " + told.words, "");
  });
}
