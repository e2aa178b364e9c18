// Bytes of the feature against the share of the computation that the head does.

function chartView(report, state, choose) {
  return scatterView(document.getElementById("chart"), state, choose, {
    label: "Feature bytes against share of MACs in the head; arrow keys select a split point",
    describe: (point) => describePoint(point, state),
    draw(root, width) {
      writeChartKey(report, state);
      return drawChart(root, width, report, state);
    },
  });
}

function describePoint(point, state) {
  const latency = state.latency(point);
  return [
    `${point.index} ${shortened(point.name, 80)}`,
    `${shapeText(point.shape)} ${point.dtype}`,
    `${written(state.bytes(point), bytesText)} ${state.measure.label}`,
    `${percentText(state.share(point))} of ${state.effort}`,
    known(latency) ? `latency ${timeText(latency)}` : null,
  ];
}

function drawChart(root, width, report, state) {
  const height = Math.round(Math.max(240, Math.min(width * 0.52, window.innerHeight * 0.38)));
  const area = { left: 62, right: width - 16, top: 14, bottom: height - 44 };
  root.setAttribute("width", width);
  root.setAttribute("height", height);
  const points = report.split_points.filter((point) => state.bytes(point) > 0);
  const scale = chartScale(points.map(state.bytes), state.inputBytes, area);
  const best = paretoFront(points, state);
  const marks = points.map((point) => {
    const [x, y] = [scale.x(state.share(point)), scale.y(state.bytes(point))];
    return { point, x, y, node: pointMark(point, x, y, best, state) };
  });
  root.replaceChildren(
    ...axes(scale, area, state),
    inputLine(scale, area, state),
    drawing("path", { class: "front", d: frontPath(best, state, scale, area) }),
    ...fastestMark(marks, state, area),
    drawing("g", { role: "presentation" }, ...marks.map(({ node }) => node)),
  );
  return marks;
}

function chartScale(bytes, inputBytes, { left, right, top, bottom }) {
  const all = [...bytes, inputBytes].filter((value) => value > 0).map(Math.log10);
  const low = all.length ? Math.min(...all) : 0;
  const high = all.length ? Math.max(...all) : 1;
  const room = Math.max(0.15, (high - low) * 0.06);
  return {
    low: low - room,
    high: high + room,
    x: (share) => left + 12 + share * (right - left - 24),
    y: (value) =>
      bottom - ((Math.log10(value) - low + room) / (high - low + 2 * room)) * (bottom - top),
  };
}

function axes(scale, area, state) {
  const shares =
    area.right - area.left < 420 ? [0, 0.25, 0.5, 0.75, 1] : [0, 0.2, 0.4, 0.6, 0.8, 1];
  return grid(area, {
    across: shares.map((share) => [scale.x(share), `${Math.round(share * 100)}`]),
    up: logTicks(scale.low, scale.high).map((value) => [scale.y(value), bytesText(value)]),
    below: `${state.effort} in the head (%)`,
    beside: "bytes of the feature (log scale)",
  });
}

function inputLine(scale, area, state) {
  if (!(state.inputBytes > 0)) return drawing("g");
  const y = scale.y(state.inputBytes);
  return drawing(
    "g",
    { class: "input-line" },
    drawing("line", { x1: area.left, x2: area.right, y1: y, y2: y }),
    drawing(
      "text",
      { x: area.left + 5, y: y - area.top < 18 ? y + 14 : y - 5 },
      `input as it is: ${bytesText(state.inputBytes)}`,
    ),
  );
}

// The points that no other beats in both: fewer bytes with no more computation in the head.
function paretoFront(points, state) {
  const order = [...points].sort(
    (a, b) =>
      state.share(a) - state.share(b) || state.bytes(a) - state.bytes(b) || a.index - b.index,
  );
  let least = Infinity;
  return new Set(
    order.filter((point) => {
      const better = state.bytes(point) < least;
      if (better) least = state.bytes(point);
      return better;
    }),
  );
}

function frontPath(best, state, scale, area) {
  const corners = [...best].map((point) => [
    scale.x(state.share(point)),
    scale.y(state.bytes(point)),
  ]);
  if (!corners.length) return "";
  const [[x, y], ...rest] = corners;
  return `M${x} ${y}${rest.map(([nextX, nextY]) => `H${nextX}V${nextY}`).join("")}H${area.right}`;
}

function pointMark(point, x, y, best, state) {
  const optimal = best.has(point);
  const shape = optimal
    ? drawing("path", { d: "M0 -7.5L7.5 0L0 7.5L-7.5 0z" })
    : drawing("circle", { r: known(point.repeats) ? 4 : 5 });
  shape.style.fill = state.colour(point);
  return drawing(
    "g",
    {
      id: `chart-${point.index}`,
      class: optimal ? "point optimal" : "point",
      role: "option",
      "data-point": point.index,
      "aria-label": `${optimal ? "Pareto-optimal: " : ""}${describePoint(point, state).join(", ")}`,
      transform: `translate(${x} ${y})`,
    },
    drawing("circle", { class: "halo", r: 12 }),
    shape,
  );
}

function fastestMark(marks, state, area) {
  const fastest = state.fastest();
  const mark = marks.find(({ point }) => point === fastest);
  if (!mark) return [];
  const atLeft = mark.x > (area.left + area.right) / 2;
  return [
    drawing("circle", { class: "fastest", cx: mark.x, cy: mark.y, r: 11 }),
    drawing(
      "text",
      { class: atLeft ? "fastest end" : "fastest", x: mark.x + (atLeft ? -15 : 15), y: mark.y - 9 },
      `lowest latency: ${timeText(state.latency(mark.point))}`,
    ),
  ];
}

function writeChartKey(report, state) {
  const left = report.split_points.filter((point) => !(state.bytes(point) > 0)).length;
  document
    .getElementById("chart-key")
    .replaceChildren(
      element(
        "span",
        {},
        "◆ Pareto-optimal: no other has fewer bytes with as little computation in the head",
      ),
      element("span", {}, "● others"),
      left ? element("span", {}, `${plural(left, "split point")} not measured this way`) : "",
    );
}
