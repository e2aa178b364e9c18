// The best of each split point along the model: what its latency is made of.

const LONGEST = 8; // bars end at so many times the latency of the best, or of the fastest

function barsView(report, state, choose) {
  const box = document.getElementById("bars");
  const shown = report.each.map((index) => report.rows[index]);
  const longest = Math.max(...shown.map(({ latency_s }) => latency_s));
  const least = Math.min(...shown.map(({ latency_s }) => latency_s).filter((value) => value > 0));
  const best = report.rows[report.best];
  const scale = Math.min(longest, LONGEST * (best ? best.latency_s : least)) || longest || 1;
  const parts = report.parts.filter((part) => shown.some((row) => row[part] > 0));
  document.getElementById("parts").replaceChildren(...parts.map((part) => swatch(part, PART_NAMES[part])));
  document.getElementById("bars-key").textContent =
    "From the model's input to its end; of each split point the best width and coder." +
    (longest > scale ? ` Bars end at ${secondsText(scale)}, dotted.` : "") +
    (shown.some((row) => !row.feasible) ? " What does not keep the limits is pale." : "");
  const nodes = new Map(shown.map((row) => [row.index, bar(row, parts, scale, report)]));
  box.addEventListener("click", ({ target }) => {
    const node = target.closest("[data-point]");
    if (node) choose(Number(node.dataset.point));
  });
  box.addEventListener("keydown", (event) => choose.byKey(event, [...nodes.keys()]));
  box.addEventListener("pointermove", (event) => {
    const node = event.target.closest("[data-point]");
    if (!node) return hideTooltip();
    const row = report.rows[Number(node.dataset.point)];
    const split = parts.map((part) => `${PART_NAMES[part]} ${secondsText(row[part])}`);
    return showTooltip([...describeCandidate(row), split.join(", ")], event);
  });
  box.addEventListener("pointerleave", hideTooltip);
  return {
    draw() {
      box.replaceChildren(...nodes.values());
    },
    mark() {
      box.removeAttribute("aria-activedescendant");
      for (const [index, node] of nodes) {
        const chosen = Boolean(state.point) && state.point.index === index;
        node.setAttribute("aria-selected", chosen);
        if (chosen) box.setAttribute("aria-activedescendant", node.id);
      }
    },
  };
}

function bar(row, parts, scale, report) {
  const stack = element("div", { class: row.latency_s > scale ? "stack cut" : "stack" });
  let room = scale;
  for (const part of parts) {
    const length = Math.min(row[part], room);
    room -= length;
    const piece = element("i", { "data-part": part });
    piece.style.width = `${(100 * length) / scale}%`;
    piece.style.background = `var(--${part})`;
    if (length > 0) stack.append(piece);
  }
  const kind = row.index === report.best ? "row best" : row.feasible ? "row" : "row out";
  return element(
    "div",
    { class: kind, id: `bar-${row.index}`, role: "option", "data-point": row.index },
    element("span", { class: "way name", title: row.way }, candidateText(row)),
    stack,
    element("span", { class: "took" }, secondsText(row.latency_s)),
  );
}
