// Every split point as a row, sortable.  Columns in which nothing was measured are left out.

function tableColumns(report, state) {
  const columns = [
    { key: "index", title: "#", of: (p) => p.index, show: String },
    {
      key: "name",
      title: "Name",
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
  const box = document.getElementById("table");
  const sorting = { key: "index", sign: 1 };
  let order = [];
  let rows = new Map();

  const sortBy = (key) => {
    sorting.sign = sorting.key === key ? -sorting.sign : 1;
    sorting.key = key;
    view.draw();
    view.mark();
    box.querySelector(`[data-sort="${key}"]`).focus();
  };
  box.addEventListener("click", ({ target }) => {
    const button = target.closest("[data-sort]");
    const row = target.closest("[data-point]");
    if (button) sortBy(button.dataset.sort);
    else if (row) choose(Number(row.dataset.point));
  });
  box.addEventListener("keydown", (event) => choose.byKey(event, order));

  const view = {
    draw() {
      const columns = tableColumns(report, state);
      const column = columns.find(({ key }) => key === sorting.key) || columns[0];
      const points = sortedPoints(report.split_points, column.of, sorting.sign);
      order = points.map(({ index }) => index);
      rows = new Map(points.map((point) => [point.index, tableRow(point, columns)]));
      box.replaceChildren(
        element(
          "table",
          { role: "grid" },
          tableHead(columns, sorting),
          element("tbody", {}, ...rows.values()),
        ),
      );
    },
    mark() {
      for (const [index, row] of rows) {
        const chosen = Boolean(state.point) && state.point.index === index;
        row.setAttribute("aria-selected", chosen);
        if (chosen) showRow(box, row);
      }
    },
  };
  return view;
}

function sortedPoints(points, of, sign) {
  const compare = (a, b) => {
    const [x, y] = [of(a), of(b)];
    if (!known(x) || !known(y)) return known(y) - known(x); // what was not measured comes last
    const difference = typeof x === "string" ? x.localeCompare(y) : x - y;
    return sign * difference || a.index - b.index;
  };
  return [...points].sort(compare);
}

function tableHead(columns, sorting) {
  const cells = columns.map(({ key, title, hint }) => {
    const chosen = sorting.key === key;
    const arrow = chosen ? (sorting.sign > 0 ? " ▲" : " ▼") : "";
    return element(
      "th",
      {
        scope: "col",
        "aria-sort": chosen ? (sorting.sign > 0 ? "ascending" : "descending") : "none",
      },
      element("button", { type: "button", "data-sort": key, title: hint }, title + arrow),
    );
  });
  return element("thead", {}, element("tr", {}, ...cells));
}

function tableRow(point, columns) {
  const cells = columns.map(({ key, of, show }) => {
    const value = of(point);
    const text = known(value)
      ? show(value, point)
      : element("span", { class: "quiet", title: NOT_MEASURED }, "–");
    return element(
      key === "name" ? "th" : "td",
      key === "name" ? { scope: "row" } : { class: key },
      text,
    );
  });
  return element("tr", { "data-point": point.index }, ...cells);
}

function showRow(box, row) {
  const header = box.querySelector("thead").offsetHeight;
  if (row.offsetTop - header < box.scrollTop) box.scrollTop = row.offsetTop - header;
  const below = row.offsetTop + row.offsetHeight - box.clientHeight;
  if (below > box.scrollTop) box.scrollTop = below;
}
