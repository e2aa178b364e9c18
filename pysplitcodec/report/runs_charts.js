// Accuracy against latency, a chart for each link, and against bytes, one for each split point.

const RADII = [3.5, 10]; // of the smallest head and of the greatest
const STAR = 8; // of a whole model

function chartsView(box, parts, panel) {
  const views = new Map(); // by title, so that redrawing does not lose the focus
  return {
    draw() {
      const titles = parts();
      for (const title of titles) {
        if (!views.has(title)) views.set(title, panel(element("div", {}), title));
      }
      box.replaceChildren(...titles.map((title) => views.get(title).box));
      for (const title of titles) views.get(title).draw();
    },
    mark() {
      for (const title of parts()) views.get(title).mark();
    },
  };
}

function latencyCharts(report, state, choose) {
  const box = document.getElementById("latency-charts");
  return chartsView(
    box,
    () => report.rates.map((rate) => prefixed(rate, "bit/s")),
    (place, title) => {
      const at = report.rates.findIndex((rate) => prefixed(rate, "bit/s") === title);
      return rowsChart(place, state, choose, {
        title,
        prefix: `latency${at}`,
        rows: () => state.shown(),
        x: (row) => ({ mean: state.sent(row).latency[at].total }),
        show: timeText,
        below: "latency (log scale)",
        radius: radiusOf(report.rows),
      });
    },
  );
}

function bytesCharts(report, state, choose) {
  const box = document.getElementById("bytes-charts");
  const splits = () => [...new Set(state.shown().map(({ split }) => split))].filter(known);
  return chartsView(box, splits, (place, split) =>
    rowsChart(place, state, choose, {
      title: split,
      prefix: `bytes-${report.rows.findIndex((row) => row.split === split)}`,
      rows: () => state.shown().filter((row) => row.split === split && known(state.bytes(row))),
      x: (row) => state.sent(row).bytes,
      show: bytesText,
      below: "bytes (log scale)",
      radius: () => 5,
      joined: true,
    }),
  );
}

function radiusOf(rows) {
  const most = Math.max(1, ...rows.map(({ head }) => head.parameters));
  const [low, high] = RADII;
  return ({ head, split }) =>
    known(split) ? Math.sqrt(low ** 2 + (high ** 2 - low ** 2) * (head.parameters / most)) : STAR;
}

function rowsChart(box, state, choose, chart) {
  const keys = () => chart.rows().map(({ index }) => index);
  const view = scatterView(box, state, choose, {
    label: `Accuracy, ${chart.title}; arrow keys select a row`,
    describe: (row) => describeRow(row, state),
    draw: (root, width) => drawRows(root, width, chart, state),
    keys,
  });
  return { box, ...view };
}

function drawRows(root, width, chart, state) {
  const height = Math.round(Math.max(230, Math.min(0.72 * width, 330)));
  const area = { left: 56, right: width - 20, top: 24, bottom: height - 44 };
  root.setAttribute("width", width);
  root.setAttribute("height", height);
  const rows = chart.rows().filter((row) => chart.x(row).mean > 0); // as the scale is
  const scale = rowsScale(rows, chart, area, state);
  const drawn = [...rows].sort((a, b) => chart.radius(b) - chart.radius(a)); // small ones on top
  const marks = drawn.map((row) => {
    const [x, y] = [scale.x(chart.x(row).mean), scale.y(row.score.mean)];
    return { point: row, x, y, node: rowMark(row, x, y, chart.radius(row), chart.prefix, state) };
  });
  root.replaceChildren(
    ...grid(area, {
      across: spaced(logTicks(scale.low, scale.high).map((value) => [scale.x(value), chart.show(value)])),
      up: linearTicks(scale.least, scale.most).map((value) => [scale.y(value), shareText(value)]),
      below: chart.below,
      beside: rows.length ? `${rows[0].metric} (%)` : "",
    }),
    drawing("text", { class: "panel-title middle", x: (area.left + area.right) / 2, y: 14 }, chart.title),
    ...(chart.joined ? [wholeLine(rows, scale, area), ...joins(rows, chart, scale, state)] : []),
    drawing("g", { role: "presentation" }, ...marks.map(({ node }) => node)),
    ...marks
      .filter(({ point }) => !known(point.split))
      .map(({ point, x, y }) => wholeName(point, x, y, area)),
  );
  return marks;
}

// low, high: logarithms.
function rowsScale(rows, chart, { left, right, top, bottom }, state) {
  const reach = ({ mean, deviation }) => [mean - (deviation || 0), mean + (deviation || 0)];
  const across = rows.flatMap((row) => reach(chart.x(row))).filter((value) => value > 0);
  const up = rows.flatMap((row) => [...reach(row.score), ...(chart.joined ? [wholeOf(row)] : [])]);
  const [low, high] = widened(across.map(Math.log10), 0.08);
  const [least, most] = widened(up, 0.01);
  return {
    low,
    high,
    least,
    most,
    x: (value) => left + ((Math.log10(value) - low) / (high - low)) * (right - left),
    y: (value) => bottom - ((value - least) / (most - least)) * (bottom - top),
  };
}

function wholeOf(row) {
  return row.scores.whole[row.metric].mean;
}

function wholeLine(rows, scale, { left, right }) {
  if (!rows.length) return drawing("g");
  const y = scale.y(Math.max(...rows.map(wholeOf)));
  return drawing("line", { class: "reference", x1: left, x2: right, y1: y, y2: y });
}

// Error bars, and lines between the widths of a method.
function joins(rows, chart, scale, state) {
  const lines = new Map();
  for (const row of rows) lines.set(row.label, [...(lines.get(row.label) || []), row]);
  const path = (kind, line, d) => {
    const node = drawing("path", { class: kind, d });
    node.style.stroke = state.colour(line[0]);
    return node;
  };
  return [...lines.values()].flatMap((line) => {
    const places = line.map((row) => `${scale.x(chart.x(row).mean)} ${scale.y(row.score.mean)}`);
    return [
      path("joined", line, `M${places.join("L")}`),
      path("error", line, line.map((row) => errorPath(row, chart, scale)).join("")),
    ];
  });
}

function errorPath(row, chart, scale) {
  const [size, { mean, deviation }] = [chart.x(row), row.score];
  const [x, y] = [scale.x(size.mean), scale.y(mean)];
  const upright = deviation
    ? `M${x} ${scale.y(mean - deviation)}V${scale.y(mean + deviation)}`
    : "";
  const level =
    size.deviation && size.mean > size.deviation
      ? `M${scale.x(size.mean - size.deviation)} ${y}H${scale.x(size.mean + size.deviation)}`
      : "";
  return upright + level;
}

function wholeName(row, x, y, { left, right }) {
  const kind = x > right - 40 ? "end" : x < left + 40 ? "" : "middle";
  const name = row.method === "on-device" ? "default" : row.method;
  return drawing("text", { class: kind, x, y: y - 12 }, name);
}
