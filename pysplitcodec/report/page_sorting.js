// A table in `box` that its headings sort, by "index" at first.  points: gives what has a row; columns:
// gives {key, title, hint, of, show, heads}: `of` a point the value, and how it is shown; the column
// that `heads` names its row.
function sortableTable(box, state, choose, { points, columns }) {
  const sorting = { key: "index", sign: 1 };
  let order = [];
  let rows = new Map();

  const sortBy = (key) => {
    sorting.sign = sorting.key === key ? -sorting.sign : 1;
    sorting.key = key;
    view.draw();
    view.mark();
    box.querySelector(`[data-sort="${CSS.escape(key)}"]`).focus();
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
      const shown = columns();
      const column = shown.find(({ key }) => key === sorting.key) || shown[0];
      const sorted = sortedPoints(points(), column.of, sorting.sign);
      order = sorted.map(({ index }) => index);
      rows = new Map(sorted.map((point) => [point.index, tableRow(point, shown)]));
      box.replaceChildren(
        element(
          "table",
          { role: "grid" },
          tableHead(shown, sorting),
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
  const cells = columns.map(({ key, of, show, heads }) => {
    const value = of(point);
    const text = known(value)
      ? show(value, point)
      : element("span", { class: "quiet", title: NOT_MEASURED }, "–");
    return element(
      heads ? "th" : "td",
      heads ? { scope: "row" } : { class: key },
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
