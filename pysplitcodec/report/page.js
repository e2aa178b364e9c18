// The state of the page and what ties its views together.

const CODERS = ["pack", "lzma", "context"];
const INK_CHANGES = 0.57; // where along the colours text on them changes between light and dark

function measuresOf({ split_points: points }) {
  const plain = [
    { key: "bytes", label: "as it is", of: (point) => point.bytes },
    { key: "float32", label: "as float32", of: (point) => point.float32_bytes },
    { key: "int8", label: "as int8", of: (point) => point.int8_bytes },
  ];
  const widths = new Set(points.flatMap(({ coded }) => (coded || []).map(({ bits }) => bits)));
  const coded = [...widths]
    .sort((a, b) => a - b)
    .flatMap((bits) =>
      CODERS.map((coder) => ({
        key: `${coder}-${bits}`,
        label: `${coder}, ${plural(bits, "bit")}`,
        of: (point) => ((point.coded || []).find((row) => row.bits === bits) || {})[coder],
      })),
    );
  return [...plain, ...coded].filter(({ of }) => points.some((point) => known(of(point))));
}

function inputBytesOf({ inputs }) {
  const size = (dtype) => Number((/\d+$/.exec(dtype) || [8])[0]) / 8;
  const elements = (shape) =>
    shape.reduce((product, length) => product * (length > 0 ? length : 1), 1);
  return inputs.reduce((sum, { shape, dtype }) => sum + elements(shape) * size(dtype), 0);
}

// Everything that views ask for; `point` is the selected split point, or null.
function stateOf(report) {
  const points = report.split_points;
  const byMacs = report.macs > 0 && points.every(({ macs_head: macs }) => known(macs));
  const timed = points.some(({ head_ms: head, tail_ms: tail }) => known(head) && known(tail));
  const state = {
    point: null,
    timed,
    measures: measuresOf(report),
    measure: null,
    bitsPerSecond: 1e7,
    slower: 1,
    inputBytes: inputBytesOf(report),
    effort: byMacs ? "MACs" : "operators",
    share: (point) =>
      byMacs ? point.macs_head / report.macs : point.operators_before / report.operators.length,
    bytes: (point) => state.measure.of(point),
    ofInput: (point) =>
      state.inputBytes > 0 && known(state.bytes(point))
        ? state.bytes(point) / state.inputBytes
        : null,
    latency: (point) => latencyOf(point, state),
    fastest: () => least(points, state.latency),
    range: null, // least and most bytes of a split point
    ...colours(() => state),
  };
  return state;
}

function latencyOf(point, { bytes, bitsPerSecond, slower }) {
  if (![point.head_ms, point.tail_ms, bytes(point)].every(known)) return null;
  return point.head_ms * slower + (8000 * bytes(point)) / bitsPerSecond + point.tail_ms;
}

function least(points, of) {
  const measured = points.filter((point) => known(of(point)));
  return measured.length ? measured.reduce((a, b) => (of(b) < of(a) ? b : a)) : null;
}

// Bytes to colours, by their logarithm; the stylesheet has the three colours between which it runs.
function colours(current) {
  const place = (point) => {
    const { range, bytes } = current();
    const value = bytes(point);
    if (!range || !(value > 0)) return null;
    const [low, high] = range;
    return high > low ? Math.log(value / low) / Math.log(high / low) : 0;
  };
  return {
    colour: (point) => {
      const at = place(point);
      if (!known(at)) return null;
      const [from, to, part] =
        at < 0.5 ? ["few", "middle", at * 2] : ["middle", "many", at * 2 - 1];
      return `color-mix(in oklab, var(--${to}) ${(100 * part).toFixed(1)}%, var(--${from}))`;
    },
    ink: (point) => `var(${place(point) < INK_CHANGES ? "--on-few" : "--on-many"})`,
  };
}

// ---------------------------------------------------------------- header

function writeHeader(report, state) {
  const name = report.model || "A model without a file";
  document.title = `${shortened(name, 80)}: split points`;
  document.getElementById("model").textContent = name;
  const pairs = [
    ["Format", report.format],
    [
      report.inputs.length === 1 ? "Input" : "Inputs",
      report.inputs.map(({ shape, dtype }) => `${shapeText(shape)} ${dtype}`).join(", "),
    ],
    ["MACs", written(report.macs, countText)],
    ["Parameters", written(report.params, countText)],
    ["Weights", written(report.weight_bytes, bytesText)],
    ["Operators", exactText(report.operators.length)],
    ["Split points", exactText(report.split_points.length)],
    ["Samples", report.samples ? exactText(report.samples) : "none given"],
    ["Machine", report.machine],
    ["pysplitcodec", report.version],
  ];
  document
    .getElementById("facts")
    .append(
      ...pairs
        .filter(([, value]) => known(value))
        .map(([term, value]) =>
          element("div", {}, element("dt", {}, term), element("dd", { class: "name" }, value)),
        ),
    );
  for (const part of document.querySelectorAll("[data-times]")) part.hidden = !state.timed;
}

function writeSummary(report, state) {
  document.getElementById("summary").textContent = summaryOf(report, state);
}

function summaryOf({ split_points: points }, state) {
  if (!points.length)
    return "This model has no split point: nowhere does a single tensor hold all that the rest needs.";
  const smallest = least(points, state.bytes);
  const where = (point) =>
    `${point.index} (${bytesText(state.bytes(point))}, ${percentText(state.share(point))} of the ${state.effort})`;
  const smaller = points.filter((point) => state.bytes(point) < state.inputBytes);
  const earliest = least(smaller, state.share);
  const howMany = `${smaller.length || "None"} of ${plural(points.length, "split point")} ${smaller.length > 1 ? "send" : "sends"} less than the input (${bytesText(state.inputBytes)})`;
  const which = earliest && earliest !== smallest ? `, the earliest is ${where(earliest)}` : "";
  const fastest = state.fastest();
  const quickest = fastest
    ? ` At ${prefixed(state.bitsPerSecond, "bit/s")} split point ${fastest.index} has the lowest latency, ${timeText(state.latency(fastest))}.`
    : "";
  return `${howMany}${which}; the smallest is ${where(smallest)}. Bytes ${state.measure.label}.${quickest}`;
}

function writeLegend(state) {
  const legend = document.getElementById("legend");
  const { range } = state;
  legend.hidden = !range;
  if (!range) return;
  const [low, high] = range.map(bytesText);
  legend.setAttribute("aria-label", `Colours run from ${low} to ${high}`);
  legend.replaceChildren(
    element("span", {}, low),
    element("span", { class: "ramp" }),
    element("span", {}, high),
  );
}

// ---------------------------------------------------------------- controls

function connectControls(report, state, redraw) {
  const measure = document.getElementById("measure");
  measure.append(
    ...state.measures.map(({ key, label }) => element("option", { value: key }, label)),
  );
  const link = document.getElementById("link");
  const slower = document.getElementById("slower");
  const read = () => {
    state.measure = state.measures.find(({ key }) => key === measure.value) || {
      label: "",
      of: () => null,
    };
    const bytes = report.split_points.map(state.bytes).filter((value) => value > 0);
    state.range = bytes.length ? [Math.min(...bytes), Math.max(...bytes)] : null;
    state.bitsPerSecond = 10 ** (4 + Number(link.value) / 20); // 10 kbit/s to 1 Gbit/s
    state.slower = Number(slower.value) > 0 ? Number(slower.value) : 1;
    document.getElementById("link-text").textContent = prefixed(state.bitsPerSecond, "bit/s");
    redraw();
    writeSummary(report, state);
    writeLegend(state);
  };
  for (const control of [measure, link, slower]) control.addEventListener("input", read);
  document.getElementById("controls").addEventListener("submit", (event) => event.preventDefault());
  read();
}

// ---------------------------------------------------------------- start

// What is shown before anything is chosen: the earliest that sends less than the input.
function suggested(points, state) {
  const smaller = points.filter((point) => state.bytes(point) < state.inputBytes);
  const point = least(smaller, state.share) || least(points, state.bytes);
  return point ? point.index : 0;
}

function start() {
  const report = JSON.parse(document.getElementById("report").textContent);
  const state = stateOf(report);
  const points = report.split_points;
  const views = [];
  const choose = selector(points, state, views, () => suggested(points, state));
  writeHeader(report, state);
  const graph = graphView(report, state, choose);
  if (points.length)
    views.push(chartView(report, state, choose), tableView(report, state, choose));
  else document.body.classList.add("unsplittable");
  views.push(detailView(report, state), graph);
  connectControls(report, state, () => {
    views.forEach((view) => view.draw());
    if (state.point) views.forEach((view) => view.mark());
  });
  graph.fit();
  choose.fromAddress();
  window.addEventListener("hashchange", choose.fromAddress);
  const step = (by) => () => state.point && choose(state.point.index + by);
  document.getElementById("previous").addEventListener("click", step(-1));
  document.getElementById("next").addEventListener("click", step(1));
}

start();
