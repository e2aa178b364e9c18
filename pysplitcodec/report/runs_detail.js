// All that is known of the selected row, and words for rows.

function shareText(value) {
  return String(Number((100 * value).toFixed(2)));
}

function spreadText({ mean, deviation }) {
  const text = (100 * mean).toFixed(2);
  return known(deviation) ? `${text} ± ${(100 * deviation).toFixed(2)}` : text;
}

// Mean bytes, with the coder where it is not the one that was chosen.
function sentText(row, state) {
  const { coder, bytes } = state.sent(row);
  return `${bytes.mean.toFixed(1)}${coder === state.coder ? "" : ` ${coder}`}`;
}

function epochsText({ epochs }) {
  return Object.entries(epochs)
    .map(([stage, count]) => `${stage} ${count}`)
    .join(", ");
}

function distinct({ runs }, key) {
  return [...new Set(runs.map((run) => run[key] || "none"))].join("; ");
}

function describeRow(row, state) {
  const where = known(row.split) ? `${row.split}, ${widthText(row.bits)}` : "the whole model";
  const sent = known(state.bytes(row)) ? `${sentText(row, state)} B, ` : "";
  return [
    `${row.label}: ${where}`,
    `${row.metric} ${spreadText(row.score)} %`,
    `${sent}${timeText(state.latency(row))} at ${state.rateText()}`,
    `seeds ${row.seeds.join(", ")}; epochs ${epochsText(row)}`,
    `commit ${distinct(row, "commit")}`,
    shortened(distinct(row, "command"), 120),
    `${row.data.name}: ${exactText(row.data.train)} + ${exactText(row.data.test)} samples`,
  ];
}

function detailView(report, state) {
  const box = document.getElementById("detail");
  const draw = () => {
    const row = state.point;
    document.getElementById("detail-title").textContent = row
      ? `Row ${row.index}: ${row.label}`
      : "Row";
    if (!row) return box.replaceChildren();
    box.replaceChildren(
      rowFacts(row),
      element("h3", {}, "Accuracy"),
      scoresTable(row),
      element("h3", {}, "Bytes"),
      spreadsTable(row.bytes, (value) => value.toFixed(1)),
      element("h3", {}, `Latency at ${state.rateText()} on ${report.device}`),
      latencyFacts(row, state),
      element("h3", {}, "Seconds per training step"),
      spreadsTable(row.step_s, digits),
      element("h3", {}, "Runs"),
      runsTable(row),
      element("ul", { class: "commands" }, ...row.runs.map(({ command }) => element("li", {}, command))),
    );
  };
  return { draw, mark: draw };
}

function rowFacts(row) {
  const settings = Object.entries(row.settings).map(([key, value]) => `${key} ${JSON.stringify(value)}`);
  return definitions([
    ["Data", `${row.data.name}: ${exactText(row.data.train)} + ${exactText(row.data.test)}`],
    ["Model", row.model],
    ["Split point", row.split || "none"],
    ["Bits", row.bits || "none"],
    ["Bottleneck", row.bottleneck || "none"],
    row.feature_shape ? ["Feature", shapeText(row.feature_shape)] : null,
    ["Settings", settings.join(", ") || "none"],
    ["Epochs", epochsText(row)],
    known(row.batch) ? ["Batch", row.batch] : null,
    ["Head MACs", countText(row.head.macs)],
    ["Head parameters", countText(row.head.parameters)],
  ]);
}

function scoresTable({ scores }) {
  const names = { whole: "whole", float: "split, float", quantized: "quantised", retrained: "tail retrained" };
  const rows = Object.entries(names)
    .filter(([key]) => known(scores[key]))
    .flatMap(([key, name]) =>
      Object.entries(scores[key]).map(([metric, spread]) => [`${name}, ${metric}`, spread]),
    );
  return spreadsTable(Object.fromEntries(rows), (value) => (100 * value).toFixed(2));
}

function spreadsTable(spreads, format) {
  const columns = ["mean", "deviation", "low", "high"];
  const rows = Object.entries(spreads).map(([name, spread]) => [
    name,
    ...columns.map((key) => (known(spread[key]) ? format(spread[key]) : "–")),
  ]);
  return rows.length ? plainTable(["", ...columns], rows) : element("p", { class: "quiet" }, "none");
}

function latencyFacts(row, state) {
  const { compute, codec, link, total } = state.sent(row).latency[state.rate];
  return definitions([
    ["Head", timeText(compute)],
    ["Coding", timeText(codec)],
    ["Link", timeText(link)],
    ["Together", timeText(total)],
  ]);
}

function runsTable({ runs }) {
  const columns = ["seed", "commit", "date", "hours", "device", "version", "torch"];
  return plainTable(
    columns,
    runs.map((run) => columns.map((key) => (known(run[key]) ? String(run[key]) : "–"))),
  );
}

function plainTable(columns, rows) {
  return element(
    "div",
    { class: "scroll" },
    element(
      "table",
      {},
      element("thead", {}, element("tr", {}, ...columns.map((name) => element("th", { scope: "col" }, name)))),
      element(
        "tbody",
        {},
        ...rows.map(([first, ...rest]) =>
          element("tr", {}, element("th", { scope: "row" }, first), ...rest.map((cell) => element("td", {}, cell))),
        ),
      ),
    ),
  );
}
