// Rows as tables: each by itself, and methods by split points.

function rowColumns(state) {
  const columns = [
    { key: "index", title: "#", of: (row) => row.index, show: String },
    { key: "method", title: "Method", heads: true, of: (row) => row.label, show: String },
    { key: "split", title: "Split point", of: (row) => row.split, show: String },
    { key: "bits", title: "Bits", of: (row) => row.bits, show: String },
    {
      key: "score",
      title: "Accuracy %",
      hint: "mean and standard deviation over seeds, the tail retrained",
      of: (row) => row.score.mean,
      show: (_, row) => spreadText(row.score),
    },
    {
      key: "before",
      title: "Not retrained %",
      hint: "quantised, before the tail was retrained",
      of: (row) => row.before && row.before.mean,
      show: (_, row) => spreadText(row.before),
    },
    { key: "bytes", title: "Bytes", of: state.bytes, show: (_, row) => sentText(row, state) },
    { key: "latency", title: "Latency", of: state.latency, show: timeText },
    ...speedColumns(state, (row) => row),
    { key: "macs", title: "Head MACs", of: (row) => row.head.macs, show: countText },
    { key: "parameters", title: "Head param.", of: (row) => row.head.parameters, show: countText },
    { key: "seeds", title: "Seeds", of: (row) => row.seeds.length, show: (_, row) => row.seeds.join(", ") },
    { key: "epochs", title: "Epochs", of: epochsText, show: String },
    { key: "commit", title: "Commit", of: (row) => distinct(row, "commit"), show: String },
    {
      key: "command",
      title: "Command",
      of: (row) => distinct(row, "command"),
      show: (text) => element("span", { title: text }, shortened(text, 44)),
    },
  ];
  return columns.filter(({ of }) => state.shown().some((row) => known(of(row))));
}

// pick: the row of what has the columns, or undefined.
function speedColumns(state, pick, split = "") {
  const title = split && `${split}\n`;
  return [
    ["on-server", "server"],
    ["on-device", "device"],
  ].map(([method, side]) => ({
    key: `${split}-${side}`,
    title: `${title}× ${side}`,
    hint: `how many times as long all on the ${side} takes, over the link chosen above`,
    of: (item) => (pick(item) ? state.speedUp(pick(item), method) : null),
    show: (times) => times.toFixed(2),
  }));
}

function tableView(state, choose) {
  return sortableTable(document.getElementById("table"), state, choose, {
    points: () => state.shown(),
    columns: () => rowColumns(state),
  });
}

// Like the paper's Tables 1 and 2: a line is a method at a width.
function methodsView(state) {
  const lines = () => {
    const found = new Map();
    for (const row of state.shown().filter(({ split }) => known(split))) {
      const name = JSON.stringify([row.bits, row.label]);
      if (!found.has(name)) found.set(name, { label: row.label, bits: row.bits, at: {} });
      found.get(name).at[row.split] = row;
    }
    return [...found.values()]
      .sort((a, b) => a.bits - b.bits)
      .map((line, index) => ({ index, ...line }));
  };
  const columns = () => [
    { key: "index", title: "Bits", of: (line) => line.index, show: (_, line) => (known(line.bits) ? line.bits : "–") },
    { key: "label", title: "Method", heads: true, of: (line) => line.label, show: String },
    ...state.splits().flatMap((split) => splitColumns(split, state)),
  ];
  const none = () => {};
  none.byKey = none;
  return sortableTable(document.getElementById("methods"), { point: null }, none, {
    points: lines,
    columns,
  });
}

function splitColumns(split, state) {
  const row = (line) => line.at[split];
  const columns = [
    {
      key: `${split}-score`,
      title: `${split}\naccuracy %`,
      of: (line) => row(line) && row(line).score.mean,
      show: (_, line) => spreadText(row(line).score),
    },
    {
      key: `${split}-bytes`,
      title: `${split}\nbytes`,
      of: (line) => row(line) && state.bytes(row(line)),
      show: (_, line) => sentText(row(line), state),
    },
  ];
  return [...columns, ...speedColumns(state, row, split)];
}
