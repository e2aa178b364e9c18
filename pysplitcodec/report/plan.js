// The state of the page of a plan and what ties its views together.

const SHOWN = {
  few: "best of each split point, fronts, other links",
  kept: "all that keep the limits",
  all: "all",
};

// Everything that views ask for; `point` is the selected candidate.
function stateOf(report) {
  const { rows } = report;
  const few = new Set([
    ...report.each,
    ...report.spans.map(({ row }) => row),
    ...Object.values(report.fronts).flat(),
  ]);
  const filters = { few: ({ index }) => few.has(index), kept: ({ feasible }) => feasible, all: () => true };
  const state = {
    point: null,
    filter: "few",
    figure: Object.keys(report.fronts)[0] || "payload_bytes",
    shown: () => rows.filter(filters[state.filter]),
  };
  return state;
}

function writeHeader(report) {
  const [answer, ...why] = report.why;
  document.getElementById("model").textContent = report.model;
  document.getElementById("answer").textContent = answer;
  document.getElementById("why").replaceChildren(...why.map((text) => element("li", {}, text)));
  const limits = Object.entries(report.limits).filter(([, value]) => known(value));
  const weights = Object.entries(report.weights).filter(([, value]) => value);
  const pairs = [
    ...report.profiles.map(({ role, name }) => [role, name]),
    ["Rate", rateText(report.bits_per_s)],
    ["Limits", limits.map(([key, value]) => `${key} ${value}`).join(", ") || "none"],
    ["Minimised", weights.map(([key, value]) => (key === "per_s" ? "time" : `${value} s ${key.replace("_", " ")}`)).join(" + ")],
    ["Weights are sent", known(report.inferences) ? `once for ${exactText(report.inferences)} inputs` : "never: they are there"],
    ["Inputs", exactText(report.samples)],
  ];
  document.getElementById("facts").append(
    ...pairs.map(([term, value]) => element("div", {}, element("dt", {}, term), element("dd", { class: "name" }, value))),
  );
}

function connectControls(report, state, redraw) {
  const fill = (id, pairs, value) => {
    const control = document.getElementById(id);
    control.replaceChildren(...pairs.map(([key, text]) => element("option", { value: key }, text)));
    control.value = value;
    return control;
  };
  const shown = fill("shown", Object.entries(SHOWN), state.filter);
  const figures = Object.keys(report.fronts).map((name) => [name, FIGURE_NAMES[name]]);
  const figure = fill("figure", figures, state.figure);
  figure.parentNode.hidden = figures.length < 2;
  const read = () => {
    state.filter = shown.value;
    if (figure.value) state.figure = figure.value;
    redraw();
  };
  for (const control of [shown, figure]) control.addEventListener("input", read);
  document.getElementById("controls").addEventListener("submit", (event) => event.preventDefault());
}

function start() {
  const report = JSON.parse(document.getElementById("report").textContent);
  const state = stateOf(report);
  const views = [];
  const choose = selector(report.rows, state, views, () => report.best || 0);
  writeHeader(report);
  writeProfiles(report);
  writeOrigin(report);
  views.push(
    barsView(report, state, choose),
    ratesView(report),
    frontView(report, state, choose),
    tableView(report, state, choose),
    detailView(report, state),
  );
  const redraw = () => {
    views.forEach((view) => view.draw());
    views.forEach((view) => view.mark());
  };
  connectControls(report, state, redraw);
  redraw();
  choose.fromAddress();
  window.addEventListener("hashchange", choose.fromAddress);
  const order = () => state.shown().map(({ index }) => index);
  const step = (key) => () => choose.byKey(new KeyboardEvent("keydown", { key }), order());
  document.getElementById("previous").addEventListener("click", step("ArrowUp"));
  document.getElementById("next").addEventListener("click", step("ArrowDown"));
}

start();
