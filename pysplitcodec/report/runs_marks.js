// Marks of rows: colour is the method, shape the width, as in the pictures.

// Corners and turn of the shape of each width; 1 bit is a circle.
const SHAPES = {
  2: [4, 1 / 8],
  3: [4, 0],
  4: [3, 1 / 2],
  5: [3, 0],
  6: [5, 0],
  7: [6, 0],
  8: [8, 1 / 16],
};

// A shape of about the area of a circle of that radius, around 0, 0.
function shapePath(bits, radius) {
  const r = radius.toFixed(2);
  if (bits === 1) return `M-${r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 -${2 * r} 0z`;
  if (!(bits in SHAPES)) return crossPath(radius);
  const [corners, turn] = SHAPES[bits];
  const reach = radius * Math.sqrt((2 * Math.PI) / (corners * Math.sin((2 * Math.PI) / corners)));
  return polygonPath(corners, turn, () => reach);
}

function starPath(radius) {
  return polygonPath(10, 0, (corner) => (corner % 2 ? 0.45 : 1.15) * radius);
}

function crossPath(radius) {
  const [arm, half] = [1.1 * radius, 0.35 * radius];
  const corners = [0, 1, 2, 3].flatMap((quarter) => {
    const [x, y] = [Math.cos((quarter * Math.PI) / 2), Math.sin((quarter * Math.PI) / 2)];
    return [
      [arm * x + half * y, arm * y - half * x],
      [arm * x - half * y, arm * y + half * x],
      [half * (x - y), half * (x + y)],
    ];
  });
  return `M${corners.map(([x, y]) => turned(x, y, 1 / 8)).join("L")}z`;
}

function polygonPath(corners, turn, reach) {
  const places = Array.from({ length: corners }, (_, corner) =>
    turned(0, -reach(corner), turn + corner / corners),
  );
  return `M${places.join("L")}z`;
}

function turned(x, y, turn) {
  const [cos, sin] = [Math.cos(2 * Math.PI * turn), Math.sin(2 * Math.PI * turn)];
  return `${(x * cos - y * sin).toFixed(2)} ${(x * sin + y * cos).toFixed(2)}`;
}

function rowMark(row, x, y, radius, prefix, state) {
  const whole = !known(row.split);
  const shape = drawing("path", { d: whole ? starPath(radius) : shapePath(row.bits, radius) });
  if (!whole) shape.style.fill = state.colour(row);
  return drawing(
    "g",
    {
      id: `${prefix}-${row.index}`,
      class: whole ? "point whole" : "point",
      role: "option",
      "data-point": row.index,
      "aria-label": describeRow(row, state).join(", "),
      transform: `translate(${x} ${y})`,
    },
    drawing("circle", { class: "halo", r: radius + 5 }),
    shape,
  );
}

function writeLegend(rows, state) {
  const split = rows.filter((row) => known(row.split));
  const mark = (path, colour) => {
    const shape = drawing("path", { class: "mark", d: path });
    if (colour) shape.style.fill = colour;
    return drawing("svg", { width: 14, height: 14, viewBox: "-7 -7 14 14" }, shape);
  };
  const methods = new Map(split.map((row) => [row.label, row]));
  const widths = [...new Set(split.map(({ bits }) => bits))].sort((a, b) => a - b);
  const legend = document.getElementById("legend");
  legend.setAttribute(
    "aria-label",
    `Colours are methods: ${[...methods.keys()].join(", ")}; shapes are widths: ${widths.map(widthText).join(", ")}`,
  );
  legend.replaceChildren(
    ...[...methods].map(([label, row]) =>
      element("span", {}, mark(shapePath(1, 5), state.colour(row)), label),
    ),
    ...widths.map((bits) => element("span", {}, mark(shapePath(bits, 5)), widthText(bits))),
  );
}

function widthText(bits) {
  return known(bits) ? plural(bits, "bit") : "no codebook";
}
