// Latency over the rate of the link: a line for each alternative, and what is chosen.

const SAMPLES = 160;

function ratesView(report) {
  const box = document.getElementById("rates");
  const root = drawing("svg", { role: "img" });
  box.append(root);
  root.setAttribute(
    "aria-label",
    `Latency over the rate of the link. ${spanTexts(report).join("; ")}`,
  );
  document.getElementById("lines").replaceChildren(
    ...report.lines.map(({ row }, at) => swatch(`line${at % 8}`, report.rows[row].way)),
  );
  writeSpans(report);
  const reach = rateReach(report);
  let scale = null;
  root.addEventListener("pointermove", (event) => {
    const x = event.clientX - root.getBoundingClientRect().left;
    if (!scale || x < scale.area.left || x > scale.area.right) return hideTooltip();
    const rate = scale.rate(x);
    const took = report.lines
      .map((line) => [latencyAt(line, rate), report.rows[line.row].way])
      .sort(([a], [b]) => a - b)
      .map(([seconds, way]) => `${secondsText(seconds)}: ${way}`);
    return showTooltip([rateText(rate), ...took], event);
  });
  root.addEventListener("pointerleave", hideTooltip);
  const view = {
    draw() {
      if (box.clientWidth) scale = drawRates(root, box.clientWidth, report, reach);
    },
    mark() {},
  };
  new ResizeObserver(() => {
    if (Number(root.getAttribute("width")) !== box.clientWidth) view.draw();
  }).observe(box);
  return view;
}

function latencyAt({ fixed_s, sent_bits }, rate) {
  return fixed_s + sent_bits / rate;
}

function spanTexts(report) {
  return report.spans.map(
    ({ low, high, row }) => `${rateText(low)} to ${rateText(high)}: ${report.rows[row].way}`,
  );
}

function writeSpans(report) {
  const lines = report.spans.map(({ low, high, row }) =>
    element(
      "tr",
      { "data-span": row },
      element("th", { scope: "row" }, `${rateText(low)} to ${known(high) ? rateText(high) : "any higher"}`),
      element("td", { class: "name" }, report.rows[row].way),
    ),
  );
  document.getElementById("spans").replaceChildren(element("table", {}, element("tbody", {}, ...lines)));
}

// low, high: logarithms, around where the answer changes and the link that was asked for.
function rateReach(report) {
  const rates = report.spans.flatMap(({ low, high }) => [low, high]).filter((rate) => rate > 0);
  const all = [...rates, report.bits_per_s].map(Math.log10);
  return { low: Math.min(...all) - 1, high: Math.max(...all) + 1 };
}

function drawRates(root, width, report, { low, high }) {
  const height = Math.round(Math.max(240, Math.min(0.6 * width, 340)));
  const area = { left: 62, right: width - 34, top: 34, bottom: height - 44 };
  root.setAttribute("width", width);
  root.setAttribute("height", height);
  const rates = Array.from({ length: SAMPLES }, (_, at) => 10 ** (low + ((high - low) * at) / (SAMPLES - 1)));
  const envelope = chosenLine(report, low, high);
  const seen = envelope.map(([, seconds]) => seconds).filter((seconds) => seconds > 0);
  const [least, most] = seen.length ? [Math.min(...seen) / 1.6, Math.max(...seen) * 4] : [1e-3, 1];
  const up = { low: Math.log10(least), high: Math.log10(most) };
  const x = (rate) => area.left + ((Math.log10(rate) - low) / (high - low)) * (area.right - area.left);
  const y = (seconds) => {
    const share = (Math.log10(Math.max(seconds, least / 10)) - up.low) / (up.high - up.low);
    return area.bottom - Math.min(share, 3) * (area.bottom - area.top);
  };
  const path = (places) => `M${places.map(([a, b]) => `${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("L")}`;
  const frame = drawing("rect", { x: area.left, y: area.top, width: area.right - area.left, height: area.bottom - area.top });
  const curves = report.lines.map((line, at) => {
    const node = drawing("path", {
      class: "curve",
      "data-line": line.row,
      d: path(rates.map((rate) => [rate, latencyAt(line, rate)])),
      "stroke-dasharray": at < 8 ? null : "2 2",
    });
    node.style.stroke = `var(--line${at % 8})`;
    return node;
  });
  root.replaceChildren(
    drawing("clipPath", { id: "rates-area" }, frame),
    ...grid(area, {
      across: spaced(logTicks(low, high).map((rate) => [x(rate), rateText(rate)])),
      up: logTicks(up.low, up.high).map((seconds) => [y(seconds), secondsText(seconds)]),
      below: "rate of the link (log scale)",
      beside: "latency (log scale)",
    }),
    drawing(
      "g",
      { "clip-path": "url(#rates-area)" },
      envelope.length ? drawing("path", { class: "envelope", d: path(envelope) }) : null,
      ...curves,
    ),
    ...marksOfRates(report, x, area),
  );
  return { area, rate: (at) => 10 ** (low + ((at - area.left) / (area.right - area.left)) * (high - low)) };
}

// What is chosen, from span to span: pairs of rate and latency.
function chosenLine(report, low, high) {
  const lines = new Map(report.lines.map((line) => [line.row, line]));
  return report.spans.flatMap((span) => {
    const from = Math.max(low, Math.log10(span.low || 1e-300));
    const to = Math.min(high, known(span.high) ? Math.log10(span.high) : high);
    return Array.from({ length: 24 }, (_, at) => {
      const rate = 10 ** (from + ((to - from) * at) / 23);
      return [rate, latencyAt(lines.get(span.row), rate)];
    });
  });
}

function marksOfRates(report, x, { top, bottom, left, right }) {
  const upright = (kind, at) => drawing("line", { class: kind, x1: at, x2: at, y1: top, y2: bottom });
  const side = (at) => (at > right - 60 ? "end" : at < left + 60 ? "" : "middle");
  const changes = report.spans.map(({ low }) => low).filter((rate) => rate > 0);
  const labels = spaced(changes.map((rate) => [x(rate), rateText(rate)]));
  const now = x(report.bits_per_s);
  return [
    ...changes.map((rate) => upright("change", x(rate))),
    ...labels.map(([at, text]) => drawing("text", { class: `tick ${side(at)}`, x: at, y: top - 4 }, text)),
    upright("now", now),
    drawing("text", { class: `now-text ${side(now)}`, x: now, y: top - 18 }, `this link: ${rateText(report.bits_per_s)}`),
  ];
}
