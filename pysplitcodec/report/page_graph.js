// The graph of operators, with split points coloured by their bytes.

const BYTES_WIDTH = 62;

function graphView(report, state, choose) {
  const box = document.getElementById("graph");
  const input = { index: -1, kind: "input", inputs: [], split_point: null };
  const nodes = [input, ...report.operators];
  const layout = layoutGraph(
    nodes.map(({ inputs }) => [...new Set(inputs)].map((from) => from + 1)),
  );
  const dearest = Math.max(1, ...report.operators.map(({ macs }) => macs || 0));
  const edges = layout.edges.map(({ path }) => drawing("path", { d: path }));
  const groups = nodes.map((node, index) => nodeGroup(node, layout.nodes[index], dearest, report));
  const root = drawing(
    "svg",
    {
      viewBox: `0 0 ${layout.width} ${layout.height}`,
      role: report.split_points.length ? "listbox" : "img",
      tabindex: "0",
      "aria-label": "Graph of operators; arrow keys go from split point to split point",
    },
    nodeClip(),
    drawing("g", { class: "edges" }, ...edges),
    ...groups,
  );
  box.append(root);
  const zoom = zoomer(box, root, layout);
  root.addEventListener("click", ({ target }) => {
    const node = target.closest("[data-point]");
    if (node) choose(Number(node.dataset.point));
  });
  root.addEventListener("keydown", (event) => choose.byKey(event));
  describeOnHover(root, nodes, report, state);

  const starts = cutPositions(report);
  return {
    draw() {
      report.operators.forEach(({ split_point: point }, index) => {
        if (known(point)) colourNode(groups[index + 1], report.split_points[point], state);
      });
      layout.edges.forEach(({ from }, index) => {
        const point = nodes[from].split_point;
        const colour = known(point) ? state.colour(report.split_points[point]) : null;
        edges[index].classList.toggle("cut", known(colour));
        edges[index].style.stroke = colour || "";
      });
    },
    mark() {
      const end = state.point ? starts[state.point.index] : 0; // nodes before it are in the head
      groups.forEach((group, index) => {
        group.classList.toggle("head", index < end);
        const chosen = Boolean(state.point) && nodes[index].split_point === state.point.index;
        if (known(nodes[index].split_point)) group.setAttribute("aria-selected", chosen);
        if (chosen) root.setAttribute("aria-activedescendant", group.id);
      });
      layout.edges.forEach(({ from, to }, index) => {
        edges[index].classList.toggle("crossing", from < end && to >= end);
      });
      if (end) zoom.show(layout.nodes[end - 1]);
    },
    fit: zoom.fit,
  };
}

// For every split point, how many nodes (the input counts) stand before it in execution order.
function cutPositions(report) {
  const positions = report.split_points.map(({ operators_before: before }) => before + 1);
  report.operators.forEach(({ split_point: point }, index) => {
    if (known(point)) positions[point] = index + 2;
  });
  return positions;
}

function nodeClip() {
  const area = drawing("rect", { width: NODE_WIDTH - 6, height: NODE_HEIGHT });
  const beside = drawing("rect", { width: NODE_WIDTH - BYTES_WIDTH - 4, height: NODE_HEIGHT });
  return drawing(
    "defs",
    {},
    drawing("clipPath", { id: "clip-node" }, area),
    drawing("clipPath", { id: "clip-split" }, beside),
  );
}

function nodeGroup(node, { x, y }, dearest, report) {
  const point = node.split_point;
  const attributes = { class: "node", transform: `translate(${x} ${y})`, "data-node": node.index };
  if (known(point)) {
    attributes.role = "option";
    attributes.id = `node-${node.index}`;
    attributes["data-point"] = point;
  } else attributes.role = "presentation";
  if (node.index < 0) attributes.class += " input";
  const label = node.index < 0 ? inputLabel(report) : `${node.index} ${node.kind}`;
  return drawing(
    "g",
    attributes,
    drawing("rect", { width: NODE_WIDTH, height: NODE_HEIGHT, rx: 4 }),
    node.macs
      ? drawing("rect", {
          class: "macs",
          y: NODE_HEIGHT - 2.5,
          width: Math.max(2, (NODE_WIDTH * node.macs) / dearest),
          height: 2.5,
        })
      : null,
    drawing(
      "text",
      { x: 7, y: 16, "clip-path": `url(#clip-${known(point) ? "split" : "node"})` },
      shortened(label, 40),
    ),
    known(point) ? bytesField() : null,
  );
}

function inputLabel({ inputs }) {
  return inputs.length === 1
    ? `input ${inputs[0].shape.join("×")}`
    : plural(inputs.length, "input");
}

function bytesField() {
  const left = NODE_WIDTH - BYTES_WIDTH;
  const field = drawing("path", {
    class: "field",
    d: `M${left} 0H${NODE_WIDTH - 4}q4 0 4 4V${NODE_HEIGHT - 4}q0 4 -4 4H${left}z`,
  });
  return [field, drawing("text", { class: "bytes", x: NODE_WIDTH - 6, y: 16 })];
}

function colourNode(group, point, state) {
  const colour = state.colour(point);
  group.querySelector(".field").style.fill = colour || "";
  const [label, bytes] = group.querySelectorAll("text");
  bytes.textContent = known(state.bytes(point)) ? bytesText(state.bytes(point)) : "–";
  bytes.style.fill = colour ? state.ink(point) : "";
  const spoken = `${label.textContent} ${bytes.textContent}, split point ${point.index} ${point.name}`;
  group.setAttribute("aria-label", spoken);
}

function describeOnHover(root, nodes, report, state) {
  root.addEventListener("pointermove", (event) => {
    const group = event.target.closest("[data-node]");
    if (!group) return hideTooltip();
    showTooltip(describeNode(nodes[Number(group.dataset.node) + 1], report, state), event);
  });
  root.addEventListener("pointerleave", hideTooltip);
}

function describeNode(node, report, state) {
  if (node.index < 0) {
    return report.inputs.map(
      ({ name, shape, dtype }) => `${shortened(name, 80)}: ${shapeText(shape)} ${dtype}`,
    );
  }
  const point = known(node.split_point) ? report.split_points[node.split_point] : null;
  return [
    `${node.index} ${node.kind}`,
    shortened(node.name, 120),
    `MACs ${written(node.macs, countText)}, parameters ${written(node.params, countText)}`,
    known(node.output_bytes) ? `output ${bytesText(node.output_bytes)}` : null,
    point
      ? `split point ${point.index}: ${written(state.bytes(point), bytesText)} ${state.measure.label}`
      : null,
  ];
}

// ---------------------------------------------------------------- zoom

function zoomer(box, root, { width, height }) {
  let scale = 1;
  const set = (wanted) => {
    const before = scale;
    const middle = (box.scrollTop + box.clientHeight / 2) / before;
    scale = Math.min(3, Math.max(0.02, wanted));
    root.setAttribute("width", width * scale);
    root.setAttribute("height", height * scale);
    box.scrollTop = middle * scale - box.clientHeight / 2;
  };
  const byWidth = () => (box.clientWidth - 2) / width;
  const wanted = {
    in: () => scale * 1.25,
    out: () => scale / 1.25,
    width: byWidth,
    all: () => Math.min(byWidth(), (box.clientHeight - 2) / height),
  };
  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => set(wanted[button.dataset.zoom]()));
  }
  box.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      set(scale * Math.exp(-event.deltaY / 400));
    },
    { passive: false },
  );
  return {
    // as large as the width allows, within what can be read
    fit() {
      set(Math.min(1.15, Math.max(0.8, byWidth())));
      box.scrollLeft = box.scrollWidth; // where the longest path is
    },
    show({ x, y }) {
      const [left, top] = [x * scale, y * scale];
      if (top < box.scrollTop + 30 || top > box.scrollTop + box.clientHeight - 60) {
        box.scrollTop = top - box.clientHeight / 2;
      }
      if (left < box.scrollLeft || left + NODE_WIDTH * scale > box.scrollLeft + box.clientWidth) {
        box.scrollLeft = left + (NODE_WIDTH + LANE_STEP / 4) * scale - box.clientWidth;
      }
    },
  };
}
