// Every split point as a row.  Columns in which nothing was measured are left out.

function tableColumns(report, state) {
  const columns = [
    { key: "index", title: "#", of: (p) => p.index, show: String },
    {
      key: "name",
      title: "Name",
      heads: true,
      of: (p) => p.name,
      show: (name) => element("span", { class: "name", title: name }, withoutMiddle(name, 30)),
    },
    { key: "bytes", title: "Bytes", hint: "as chosen above", of: state.bytes, show: bytesText },
    {
      key: "ratio",
      title: "÷ input",
      hint: "bytes over those of the input as it is",
      of: state.ofInput,
      show: digits,
    },
    { key: "share", title: `Head ${state.effort}`, of: state.share, show: percentText },
    {
      key: "latency",
      title: "Latency",
      hint: "head, link and tail",
      of: state.latency,
      show: timeText,
    },
    {
      key: "shape",
      title: "Shape",
      hint: "sorted by elements",
      of: (p) => p.elements,
      show: (_, p) => tensorsText(p),
    },
    { key: "after", title: "After", of: (p) => p.after, show: (kind) => shortened(kind, 24) },
    { key: "params", title: "Head param.", of: (p) => p.params_head, show: countText },
    {
      key: "ram",
      title: "Head RAM",
      hint: "peak of activations",
      of: (p) => p.head_ram_bytes,
      show: bytesText,
    },
    { key: "sparsity", title: "Zeros", of: (p) => p.sparsity, show: percentText },
    { key: "head", title: "Head time", of: (p) => p.head_ms, show: timeText },
    { key: "tail", title: "Tail time", of: (p) => p.tail_ms, show: timeText },
  ];
  return columns.filter(({ of }) => report.split_points.some((point) => known(of(point))));
}

function tableView(report, state, choose) {
  return sortableTable(document.getElementById("table"), state, choose, {
    points: () => report.split_points,
    columns: () => tableColumns(report, state),
  });
}
