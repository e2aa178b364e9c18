// Latency against another figure: what no other candidate beats in both.

function frontView(report, state, choose) {
  const box = document.getElementById("front");
  return scatterView(box, state, choose, {
    label: "Latency against another figure; arrow keys select a candidate",
    describe: describeCandidate,
    draw: (root, width) => drawFront(root, width, report, state),
    keys: () => onFront(report, state),
  });
}

function onFront(report, { figure }) {
  return report.fronts[figure] || [];
}

function drawFront(root, width, report, state) {
  const height = Math.round(Math.max(240, Math.min(0.6 * width, 340)));
  const area = { left: 62, right: width - 34, top: 14, bottom: height - 44 };
  root.setAttribute("width", width);
  root.setAttribute("height", height);
  const name = state.figure;
  const front = new Set(onFront(report, state));
  const rows = state.shown().filter((row) => row.feasible && known(row[name]) && row.latency_s > 0);
  document.getElementById("front-key").textContent = rows.length
    ? `Joined: no other that keeps the limits is better in both, or as good; ${plural(front.size, "candidate")}.`
    : "Nothing that keeps the limits to show.";
  if (!rows.length) {
    root.replaceChildren();
    return [];
  }
  const [low, high] = widened(rows.map((row) => Math.log10(row.latency_s)), 0.05);
  const up = figureScale(rows.map((row) => row[name]), name, area);
  const x = (seconds) => area.left + ((Math.log10(seconds) - low) / (high - low)) * (area.right - area.left);
  const marks = rows.map((row) => {
    const place = { x: x(row.latency_s), y: up.of(row[name]) };
    return { point: row, ...place, node: frontMark(row, place, front.has(row.index), report) };
  });
  marks.sort((a, b) => front.has(a.point.index) - front.has(b.point.index)); // the front above
  const joined = marks.filter(({ point }) => front.has(point.index)).sort((a, b) => a.x - b.x);
  const steps = joined.map(({ x: at, y }, place) => (place ? `H${at}V${y}` : `M${at} ${y}`));
  root.replaceChildren(
    ...grid(area, {
      across: spaced(logTicks(low, high).map((value) => [x(value), secondsText(value)])),
      up: up.ticks,
      below: "latency (log scale)",
      beside: FIGURE_NAMES[name] + (up.log ? " (log scale)" : ""),
    }),
    ...(steps.length ? [drawing("path", { class: "front", d: steps.join("") })] : []),
    drawing("g", { role: "presentation" }, ...marks.map(({ node }) => node)),
  );
  return marks;
}

// Bytes by their logarithm, above a place for 0; others as they are.
function figureScale(values, name, { top, bottom }) {
  const text = FIGURE_TEXTS[name];
  const positive = values.filter((value) => value > 0);
  if (name !== "payload_bytes" || !positive.length) {
    const [least, most] = widened(values, 1e-9);
    const of = (value) => bottom - ((value - least) / (most - least)) * (bottom - top);
    const ticks = linearTicks(Math.max(least, Math.min(0, ...values)), most);
    return { of, ticks: ticks.map((value) => [of(value), text(value)]), log: false };
  }
  const zero = values.some((value) => value <= 0);
  const [low, high] = widened(positive.map(Math.log10), 0.05);
  const floor = bottom - (zero ? 26 : 0);
  const of = (value) =>
    value > 0 ? floor - ((Math.log10(value) - low) / (high - low)) * (floor - top) : bottom - 6;
  const ticks = logTicks(low, high).map((value) => [of(value), text(value)]);
  return { of, ticks: zero ? [...ticks, [bottom - 6, text(0)]] : ticks, log: true };
}

function frontMark(row, { x, y }, kept, report) {
  const kind = row.index === report.best ? "point kept chosen" : kept ? "point kept" : "point";
  return drawing(
    "g",
    {
      id: `front-${row.index}`,
      class: kind,
      role: "option",
      "data-point": row.index,
      "aria-label": describeCandidate(row).join(", "),
      transform: `translate(${x} ${y})`,
    },
    drawing("circle", { class: "halo", r: 9 }),
    drawing("circle", { r: kept ? 5 : 3.5 }),
  );
}
