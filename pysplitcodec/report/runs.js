// The state of the page of runs and what ties its views together.

// Everything that views ask for; `point` is the selected row, or null.
function stateOf(report) {
  const state = {
    point: null,
    subject: 0,
    split: "", // "": all of them
    bits: "",
    coder: report.coder,
    rate: 0,
    colour: ({ subject, label }) => report.subjects[subject].colours[label],
    ofSubject: () => report.rows.filter((row) => row.subject === state.subject),
    // whole models stay, to compare with
    shown: () => state.ofSubject().filter((row) => !known(row.split) || fits(row, state)),
    splits: () => [...new Set(state.shown().map(({ split }) => split))].filter(known),
    sent: (row) => row.sent[state.coder],
    bytes: (row) => (state.sent(row).bytes ? state.sent(row).bytes.mean : null),
    latency: (row) => state.sent(row).latency[state.rate].total,
    rateText: () => prefixed(report.rates[state.rate], "bit/s"),
    speedUp: (row, method) => {
      const whole = state.ofSubject().find((other) => other.method === method);
      return whole && known(row.split) ? state.latency(whole) / state.latency(row) : null;
    },
  };
  return state;
}

function fits(row, { split, bits }) {
  return (!split || row.split === split) && (!bits || widthText(row.bits) === bits);
}

function writeHeader(report) {
  const pairs = [
    ["Rows", exactText(report.rows.length)],
    ["Device", report.device],
    ["pysplitcodec", report.version],
  ];
  document
    .getElementById("facts")
    .append(
      ...pairs.map(([term, value]) =>
        element("div", {}, element("dt", {}, term), element("dd", { class: "name" }, value)),
      ),
    );
}

function writeLatencyKey(report, { coder }) {
  const unknown = report.uncounted[coder].join(", ");
  document.getElementById("latency-key").textContent =
    `Blobs are as large as the head on ${report.device}; default is the whole model on it.` +
    (unknown ? ` Time to code is not known, and not counted, of: ${unknown}.` : "");
}

function mostAccurate(rows) {
  const split = rows.filter((row) => known(row.split));
  return split.reduce((a, b) => (a && a.score.mean >= b.score.mean ? a : b), null);
}

function writeSummary(report, state) {
  const rows = state.shown();
  const best = mostAccurate(rows);
  document.getElementById("summary").textContent =
    `${exactText(rows.length)} of ${plural(report.rows.length, "row")}.` +
    (best ? ` Most accurate when split: ${describeRow(best, state).slice(0, 3).join(", ")}.` : "");
}

// ---------------------------------------------------------------- controls

function connectControls(report, state, redraw) {
  const control = (id) => document.getElementById(id);
  const fill = (id, pairs) =>
    control(id).replaceChildren(
      ...pairs.map(([value, text]) => element("option", { value }, text)),
    );
  const fillFilters = () => {
    const rows = state.ofSubject().filter(({ split }) => known(split));
    const values = (key) => [...new Set(rows.map((row) => row[key]))];
    const widths = values("bits").sort((a, b) => a - b);
    fill("split", [["", "all"], ...values("split").map((name) => [name, name])]);
    fill("bits", [["", "all"], ...widths.map((bits) => [widthText(bits), widthText(bits)])]);
  };
  fill("subject", report.subjects.map(({ title }, index) => [index, title]));
  fill("coder", report.coders.map((name) => [name, name]));
  fill("rate", report.rates.map((rate, index) => [index, prefixed(rate, "bit/s")]));
  fillFilters();
  control("coder").value = report.coder;
  const read = ({ target } = {}) => {
    state.subject = Number(control("subject").value);
    if (target === control("subject")) fillFilters();
    state.split = control("split").value;
    state.bits = control("bits").value;
    state.coder = control("coder").value;
    state.rate = Number(control("rate").value);
    writeLegend(state.ofSubject(), state);
    writeSummary(report, state);
    writeLatencyKey(report, state);
    redraw();
  };
  for (const id of ["subject", "split", "bits", "coder", "rate"])
    control(id).addEventListener("input", read);
  control("controls").addEventListener("submit", (event) => event.preventDefault());
  read();
}

// Rows of other data, named in the address, bring what they are compared with.
function subjectView(state) {
  const control = document.getElementById("subject");
  return {
    draw() {},
    mark() {
      if (!state.point || state.point.subject === state.subject) return;
      control.value = String(state.point.subject);
      control.dispatchEvent(new Event("input"));
    },
  };
}

function start() {
  const report = JSON.parse(document.getElementById("report").textContent);
  const state = stateOf(report);
  const views = [];
  const choose = selector(report.rows, state, views, () => {
    const { index } = mostAccurate(state.shown()) || state.shown()[0];
    return index;
  });
  writeHeader(report);
  views.push(
    subjectView(state),
    bytesCharts(report, state, choose),
    latencyCharts(report, state, choose),
    methodsView(state),
    tableView(state, choose),
    detailView(report, state),
  );
  connectControls(report, state, () => {
    views.forEach((view) => view.draw());
    const shown = state.shown();
    if (state.point && !shown.includes(state.point)) choose((shown[0] || state.point).index);
    else views.forEach((view) => view.mark());
  });
  choose.fromAddress();
  window.addEventListener("hashchange", choose.fromAddress);
  const order = () => state.shown().map(({ index }) => index);
  const step = (key) => () => choose.byKey(new KeyboardEvent("keydown", { key }), order());
  document.getElementById("previous").addEventListener("click", step("ArrowUp"));
  document.getElementById("next").addEventListener("click", step("ArrowDown"));
}

start();
