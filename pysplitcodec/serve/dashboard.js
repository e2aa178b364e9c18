"use strict";
// Follows the server's events and shows them.  Names of devices and messages may be anything: they
// become text here, never markup.

const EVENTS = "v1/live/events"; // beside the page, wherever that is
const QUIET_MS = 5000; // the server says something every second
const AGAIN_MS = 1000;
const NONE = "\u2013";
const STAGES = { wait: "Wait", decode: "Decode", tail: "Tail", request: "Whole request" };

const at = (id) => document.getElementById(id);
let token = "";

async function main() {
  for (;;) {
    try {
      await follow();
      say("Connection lost: the server ended it, trying again", true);
    } catch (error) {
      say(`Connection lost: ${error.message}, trying again`, true);
    }
    await new Promise((done) => setTimeout(done, AGAIN_MS));
  }
}

// One connection from its beginning to its end.
async function follow() {
  const stop = new AbortController();
  let alarm = setTimeout(() => stop.abort(new Error("the server is quiet")), QUIET_MS);
  try {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const answer = await fetch(EVENTS, { headers, cache: "no-store", signal: stop.signal });
    if (answer.status === 401) {
      clearTimeout(alarm);
      return await askForToken();
    }
    if (!answer.ok) throw new Error((await answer.json()).error);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = ""; ; ) {
      const { value, done } = await reader.read();
      if (done) return undefined;
      clearTimeout(alarm);
      alarm = setTimeout(() => stop.abort(new Error("the server is quiet")), QUIET_MS);
      const events = (text + value).split("\n\n");
      text = events.pop();
      if (events.length) show(JSON.parse(events.pop().slice("data: ".length)));
    }
  } finally {
    clearTimeout(alarm);
    stop.abort();
  }
}

function askForToken() {
  const ask = at("ask");
  at("shown").hidden = true;
  say(token ? "This token will not do" : "A token is needed", Boolean(token));
  ask.hidden = false;
  at("token").focus();
  return new Promise((done) => {
    ask.onsubmit = (event) => {
      event.preventDefault();
      token = at("token").value;
      at("token").value = "";
      ask.hidden = true;
      done();
    };
  });
}

function say(text, bad = false) {
  const status = at("status");
  if (status.textContent !== text) status.textContent = text; // or it is read aloud each second
  status.classList.toggle("bad", bad);
}

// ---------------------------------------------------------------- numbers as people read them

function digits(value) {
  return value >= 100 || value === 0 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3)));
}

function bytes(value) {
  const powers = ["B", "kB", "MB", "GB", "TB"];
  let power = 0;
  for (; value >= 999.5 && power < powers.length - 1; power += 1) value /= 1000;
  return `${digits(value)}\u00a0${powers[power]}`;
}

function time(ms) {
  if (ms === undefined || ms === null) return NONE;
  return ms >= 1000 ? `${digits(ms / 1000)}\u00a0s` : `${digits(ms)}\u00a0ms`;
}

function share(value) {
  return value === null ? NONE : `${(100 * value).toFixed(1)}\u00a0%`;
}

function ago(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s ago`;
  return seconds < 3600 ? `${Math.round(seconds / 60)} min ago` : `${Math.round(seconds / 3600)} h ago`;
}

function accuracy({ right, labelled }) {
  return labelled ? `${share(right / labelled)} of ${labelled.toLocaleString("en")}` : NONE;
}

function planned(plan) {
  if (!plan) return NONE;
  const [least, most] = plan.weight_bits || [];
  const weights = least === most ? `${least}` : `${least} to ${most}`;
  return [
    `${plan.model} at ${plan.split}`,
    `feature ${plan.feature_bits}\u00a0bit`,
    ...(plan.weight_bits ? [`head ${weights}\u00a0bit`] : []),
    `drop ${share(plan.accuracy_drop)}`,
  ].join(", ");
}

// ---------------------------------------------------------------- the page

function show(told) {
  at("shown").hidden = false;
  say(told.draining ? "Live: the server is stopping" : "Live");
  showNow(told);
  showMinute(told.seconds);
  fill("stages", Object.entries(STAGES).map(([stage, name]) => {
    const { p50, p90, p99 } = told.all.ms[stage] || {};
    return [name, time(p50), time(p90), time(p99)];
  }));
  fill("statuses", Object.entries(told.statuses).map(([status, count]) => [status, count.toLocaleString("en")]));
  const devices = told.devices.sort((a, b) => (a.name < b.name ? -1 : 1));
  fill("devices", devices.map(deviceRow));
  const more = told.device_count - devices.length;
  at("more").hidden = !more;
  at("more").textContent = `And ${more} more, which were not seen for longer.`;
  fill("refusals", told.refusals.map((one) => [ago(one.ago_s), String(one.status), one.client, one.where, one.why]));
}

function showNow({ all, up_s, waiting, device_count }) {
  const [ten, sixty] = [all.last_10_s, all.last_60_s];
  const both = (key, text) => `${text(ten[key])} (${text(sixty[key])})`;
  define("now", [
    ["Frames/s", both("samples_per_s", digits)],
    ["Received/s", both("received_bytes_per_s", bytes)],
    ["Sent/s", both("sent_bytes_per_s", bytes)],
    ["Accuracy", both("accuracy", share)],
    ["Frames in all", all.samples.toLocaleString("en")],
    ["Accuracy in all", accuracy(all)],
    ["Devices", device_count.toLocaleString("en")],
    ["Waiting", Object.values(waiting).reduce((sum, count) => sum + count, 0).toLocaleString("en")],
    ["Up", ago(up_s).replace(" ago", "")],
  ]);
}

function showMinute(seconds) {
  chart("frames", "Frames each second", digits, [seconds.samples]);
  chart("bytes", "Bytes each second, received and sent", bytes, [seconds.received_bytes, seconds.sent_bytes]);
  chart("times", "Mean time each second, of the whole request and in the tail", time, [seconds.request_ms, seconds.tail_ms]);
}

function deviceRow(device) {
  const ten = device.last_10_s;
  const { p50, p99 } = device.ms.request || {};
  return [
    device.name,
    digits(ten.samples_per_s),
    bytes(ten.received_bytes_per_s),
    bytes(ten.sent_bytes_per_s),
    time(p50),
    time(p99),
    accuracy(device),
    device.refused.toLocaleString("en"),
    device.samples.toLocaleString("en"),
    ago(device.ago_s),
    device.model || NONE,
    planned(device.plan),
  ];
}

// What is the same stays: what is selected, focused or scrolled to is not lost each second.
function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function fill(id, rows) {
  const body = at(id);
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((texts, number) => {
    const row = body.rows[number] || body.insertRow();
    texts.forEach((text, place) => {
      const cell = row.cells[place] || row.appendChild(document.createElement(place ? "td" : "th"));
      if (!place) cell.scope = "row";
      write(cell, text);
    });
  });
}

function define(id, pairs) {
  const list = at(id);
  while (list.children.length > pairs.length) list.lastChild.remove();
  pairs.forEach(([term, text], number) => {
    let box = list.children[number];
    if (!box) {
      box = list.appendChild(document.createElement("div"));
      box.append(document.createElement("dt"), document.createElement("dd"));
    }
    write(box.firstChild, term);
    write(box.lastChild, text);
  });
}

// Lines over the last 60 seconds, the latest on the right; a null is a gap.
function chart(id, label, text, lines) {
  const root = at(`${id}-chart`);
  const most = Math.max(0, ...lines.flat());
  root.setAttribute("viewBox", "0 -2 59 36");
  root.setAttribute("preserveAspectRatio", "none");
  root.setAttribute("aria-label", `${label}: ${text(most)} at most`);
  write(at(`${id}-most`), `${text(most)} at most`);
  while (root.children.length < lines.length) {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("class", `line${root.children.length}`);
    root.append(path);
  }
  lines.forEach((values, number) => root.children[number].setAttribute("d", drawn(values, most)));
}

function drawn(values, most) {
  const first = 60 - values.length;
  let path = "";
  values.forEach((value, place) => {
    if (value === null) return;
    const point = `${first + place} ${(32 - (32 * value) / (most || 1)).toFixed(2)}`;
    const begins = !place || values[place - 1] === null;
    path += begins ? `M${point}h0` : `L${point}`; // h0: one alone is a dot
  });
  return path;
}

main();
