// What charts of points share: pointer and keys, lines of a grid, ticks.

const NEAR = 28; // a point is meant by a pointer at most this many pixels from it

// A view of points in `box`.  label: for those who do not see it.  describe: lines of a point's
// tooltip.  draw(root, width): draws all into the SVG element and gives marks, {point, x, y, node};
// keys: the indices that arrow keys go along, if not all.
function scatterView(box, state, choose, { label, describe, draw, keys }) {
  const root = drawing("svg", { role: "listbox", tabindex: "0", "aria-label": label });
  box.append(root);
  let marks = [];

  const nearest = (event) => {
    const corner = root.getBoundingClientRect();
    const distance = ({ x, y }) =>
      Math.hypot(event.clientX - corner.left - x, event.clientY - corner.top - y);
    const mark = marks.reduce((a, b) => (a && distance(a) <= distance(b) ? a : b), null);
    return mark && distance(mark) <= NEAR ? mark : null;
  };
  root.addEventListener("pointermove", (event) => {
    const mark = nearest(event);
    root.classList.toggle("pointing", Boolean(mark));
    if (mark) showTooltip(describe(mark.point), event);
    else hideTooltip();
  });
  root.addEventListener("pointerleave", hideTooltip);
  root.addEventListener("click", (event) => {
    const mark = nearest(event);
    if (mark) choose(mark.point.index);
  });
  root.addEventListener("keydown", (event) => choose.byKey(event, keys && keys()));

  const view = {
    draw() {
      marks = draw(root, box.clientWidth);
    },
    mark() {
      root.removeAttribute("aria-activedescendant");
      for (const { point, node } of marks) {
        const chosen = state.point === point;
        node.setAttribute("aria-selected", chosen);
        if (!chosen) continue;
        root.setAttribute("aria-activedescendant", node.id);
        node.parentNode.append(node); // above its neighbours
      }
    },
  };
  new ResizeObserver(() => {
    if (Number(root.getAttribute("width")) === box.clientWidth) return;
    view.draw();
    view.mark();
  }).observe(box);
  return view;
}

// Lines and labels of both axes.  across, up: pairs of pixel and text; below, beside: titles.
function grid(area, { across, up, below, beside }) {
  const { left, right, top, bottom } = area;
  const text = (kind, attributes, content) =>
    drawing("text", { class: kind, ...attributes }, content);
  const line = (x1, x2, y1, y2) => drawing("line", { class: "grid", x1, x2, y1, y2 });
  return [
    ...across.flatMap(([x, label]) => [
      line(x, x, top, bottom),
      text("tick middle", { x, y: bottom + 16 }, label),
    ]),
    ...up.flatMap(([y, label]) => [
      line(left, right, y, y),
      text("tick end", { x: left - 6, y: y + 4 }, label),
    ]),
    text("title middle", { x: (left + right) / 2, y: bottom + 36 }, below),
    text(
      "title middle",
      { transform: `translate(11 ${(top + bottom) / 2}) rotate(-90)` },
      beside,
    ),
  ];
}

// low, high: logarithms.  At least four ticks, where digits of one place give so many.
function logTicks(low, high) {
  const powers = Array.from(
    { length: Math.ceil(high) - Math.floor(low) + 1 },
    (_, index) => Math.floor(low) + index,
  );
  const ticks = (steps) =>
    powers
      .flatMap((power) => steps.map((digit) => digit * 10 ** power))
      .filter((value) => Math.log10(value) >= low && Math.log10(value) <= high);
  const fine = [1, 1.5, 2, 3, 4, 5, 7];
  return [[1], [1, 3], [1, 2, 5]].map(ticks).find((found) => found.length >= 4) || ticks(fine);
}

function widened(values, room) {
  const [low, high] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
  const more = Math.max(room, 0.08 * (high - low));
  return [low - more, high + more];
}

// Without the ticks whose labels would touch the one before.
function spaced(ticks) {
  let end = -Infinity;
  return ticks.filter(([x, label]) => {
    const half = 3.4 * label.length + 3;
    const fits = x - half >= end;
    if (fits) end = x + half;
    return fits;
  });
}

function linearTicks(low, high) {
  const rough = (high - low) / 6;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((digit) => digit * power >= rough);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, at) => (first + at) * step);
}
