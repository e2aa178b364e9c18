// The small drawings of one split point: entropy against the width, histograms with centroids.

function entropyPlot(bits) {
  const measured = bits
    .map((entropy, index) => ({ width: index + 1, entropy }))
    .filter(({ entropy }) => known(entropy));
  const [step, height] = [38, 84];
  const y = (value) => height * (1 - value / 8);
  const bars = measured.map(({ width, entropy }) => {
    const x = (width - 1) * step + 6;
    return drawing(
      "g",
      {},
      drawing("rect", {
        class: "outline",
        x,
        y: y(width),
        width: step - 12,
        height: height - y(width),
      }),
      drawing("rect", {
        class: "bar",
        x,
        y: y(entropy),
        width: step - 12,
        height: height - y(entropy),
      }),
      drawing(
        "text",
        { class: "middle", x: x + step / 2 - 6, y: y(width) - 4 },
        entropy.toFixed(2),
      ),
      drawing("text", { class: "tick middle", x: x + step / 2 - 6, y: height + 14 }, String(width)),
    );
  });
  const spoken = measured
    .map(({ width, entropy }) => `${entropy.toFixed(2)} at ${width}`)
    .join(", ");
  return drawing(
    "svg",
    {
      class: "entropy",
      viewBox: `0 -16 ${8 * step} ${height + 34}`,
      role: "img",
      "aria-label": `Entropy in bits per element: ${spoken} bits`,
    },
    drawing("line", { class: "axis", x1: 0, x2: 8 * step, y1: height, y2: height }),
    ...bars,
  );
}

// Counts on a square-root scale: after a ReLU the zeros would flatten all else.
function histogramPlot({ channel, counts, low, high }, centroids) {
  const [width, height] = [128, 44];
  const most = Math.max(1, ...counts);
  const step = width / counts.length;
  const top = (count) => (height * (1 - Math.sqrt(count / most))).toFixed(1);
  const outline = counts
    .map((count, index) => `V${top(count)}H${((index + 1) * step).toFixed(1)}`)
    .join("");
  const within =
    high > low
      ? centroids.filter((centroid) => known(centroid) && centroid >= low && centroid <= high)
      : [];
  const lines = within.map((centroid) => {
    const x = ((centroid - low) / (high - low)) * width;
    return drawing("line", { class: "centroid", x1: x, x2: x, y1: 0, y2: height });
  });
  const label = `Channel ${channel}: values from ${digits(low)} to ${digits(high)}, ${plural(within.length, "centroid")} among them`;
  return element(
    "figure",
    {},
    drawing(
      "svg",
      {
        viewBox: `0 0 ${width} ${height}`,
        preserveAspectRatio: "none",
        role: "img",
        "aria-label": label,
      },
      drawing("path", { class: "bar", d: `M0 ${height}${outline}V${height}z` }),
      ...lines,
    ),
    element(
      "figcaption",
      {},
      element("span", {}, digits(low)),
      element("b", {}, `ch. ${channel}`),
      element("span", {}, digits(high)),
    ),
  );
}

// How a quantity is divided between head and tail.
function shareBar(label, head, tail, format) {
  const whole = head + tail;
  const part = whole > 0 ? head / whole : 0;
  const bar = element("span", { class: "portion", role: "presentation" }, element("span", {}));
  bar.firstChild.style.width = `${100 * part}%`;
  return element(
    "div",
    { class: "divided" },
    element("span", { class: "what" }, label),
    element("span", {}, format(head)),
    bar,
    element("span", {}, format(tail)),
  );
}
