// All that is known of the selected split point.

function detailView(report, state) {
  const box = document.getElementById("detail");
  const chosen = { bits: null };
  const mark = () => {
    const { point } = state;
    document.getElementById("detail-title").textContent = point
      ? `Split point ${point.index}`
      : "Split point";
    if (!point)
      return box.replaceChildren(
        element("p", { class: "quiet" }, "None: there is nothing to select."),
      );
    const parts = [
      element("p", { class: "name full" }, point.name),
      facts(point, report, state),
      tensorsTable(point),
      dividedBetween(point),
      ...entropySection(point),
      ...codedSection(point, report),
      ...pictureSection(point),
      ...histogramSection(point, chosen, mark),
      missing(point),
    ];
    box.replaceChildren(...parts.filter(known));
  };
  return {
    draw: mark,
    mark: () => {
      mark();
      document.getElementById("detail-panel").scrollTop = 0;
    },
  };
}

function facts(point, report, state) {
  const [latency, ratio] = [state.latency(point), state.ofInput(point)];
  const same = known(point.repeats) ? `as split point ${point.repeats}` : null;
  return definitions([
    ["Shape", tensorsText(point)],
    ["Data type", [...new Set(point.tensors.map(({ dtype }) => dtype))].join(", ")],
    point.tensors.length === 1 && known(point.tensors[0].scale)
      ? ["Real value", quantisationText(point.tensors[0])]
      : null,
    ["Elements", exactText(point.elements)],
    ["Bytes as it is", written(point.bytes, bytesText)],
    ["as float32", written(point.float32_bytes, bytesText)],
    ["as int8", written(point.int8_bytes, bytesText)],
    known(ratio) ? [`÷ input, ${state.measure.label}`, digits(ratio)] : null,
    ["After", point.after],
    [
      "Operators before",
      `${exactText(point.operators_before)} of ${exactText(report.operators.length)}`,
    ],
    same && ["Same shape", same],
    ["Head RAM, peak", written(point.head_ram_bytes, bytesText)],
    known(point.sparsity) ? ["Zeros", percentText(point.sparsity)] : null,
    ["Head time here", written(point.head_ms, timeText)],
    ["Tail time here", written(point.tail_ms, timeText)],
    known(latency) ? ["Latency over link", timeText(latency)] : null,
  ]);
}

function tensorsText(point) {
  const shapes = point.tensors.map(({ shape }) => shapeText(shape));
  return shapes.length > 3
    ? `${shapes.slice(0, 3).join(" + ")} + ${shapes.length - 3} more`
    : shapes.join(" + ");
}

function tensorsTable({ tensors }) {
  if (tensors.length < 2) return null;
  const rows = tensors.map((tensor) => [
    element("span", { class: "name", title: tensor.name }, withoutMiddle(tensor.name, 40)),
    shapeText(tensor.shape),
    tensor.dtype,
    quantisationText(tensor),
  ]);
  return plainTable(["Tensor", "Shape", "Type", "Quantised"], rows, "Tensors that are sent");
}

function quantisationText({ scale, zero_point: zero }) {
  return known(scale)
    ? `${digits(scale)} × (value ${zero < 0 ? "+" : MINUS} ${Math.abs(zero)})`
    : "no";
}

function plainTable(titles, rows, label) {
  return element(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    element(
      "table",
      {},
      element(
        "thead",
        {},
        element("tr", {}, ...titles.map((title) => element("th", { scope: "col" }, title))),
      ),
      element(
        "tbody",
        {},
        ...rows.map((row) => element("tr", {}, ...row.map((cell) => element("td", {}, cell)))),
      ),
    ),
  );
}

function dividedBetween(point) {
  const quantities = [
    ["MACs", point.macs_head, point.macs_tail, countText],
    ["Parameters", point.params_head, point.params_tail, countText],
    ["Weights", point.weight_bytes_head, point.weight_bytes_tail, bytesText],
    ["Time", point.head_ms, point.tail_ms, timeText],
  ];
  const rows = quantities
    .filter(([, head, tail]) => known(head) && known(tail))
    .map((row) => shareBar(...row));
  if (!rows.length) return null;
  const titles = element(
    "div",
    { class: "divided quiet" },
    element("span", { class: "what" }),
    element("span", {}, "head"),
    element("span", {}),
    element("span", {}, "tail"),
  );
  return element("div", { class: "between" }, titles, ...rows);
}

function entropySection(point) {
  if (!point.entropy_bits || !point.entropy_bits.some(known)) return [];
  return [
    element("h3", {}, "Entropy of the indices, bits per element"),
    entropyPlot(point.entropy_bits),
    element(
      "p",
      { class: "key" },
      "Width of the index in bits; outlined, what it takes without a coder.",
    ),
  ];
}

function codedSection(point, { samples }) {
  if (!point.coded || !point.coded.length) return [];
  const coders = CODERS.filter((coder) => point.coded.some((row) => known(row[coder])));
  if (!coders.length) return [];
  const rows = point.coded.map((row) => [
    `${row.bits}`,
    ...coders.map((coder) =>
      written(
        row[coder],
        (bytes) => `${exactText(bytes)} (${((8 * bytes) / point.elements).toFixed(2)})`,
      ),
    ),
  ]);
  return [
    element("h3", {}, "Frame bytes per sample (bits per element)"),
    plainTable(["Bits", ...coders], rows, "Bytes after coding"),
    element(
      "p",
      { class: "key" },
      samples > 1
        ? `Means over the second half of ${exactText(samples)} samples; codebooks and coders learned from the first.`
        : "Of the one sample that codebooks were fitted to.",
    ),
  ];
}

function pictureSection({ picture, name }) {
  if (!picture) return [];
  const { png, channels, width, height } = picture;
  const image = element("img", {
    alt: `Feature map at ${name}, ${plural(channels, "channel")}`,
    width,
    height,
  });
  image.src = `data:image/png;base64,${png}`;
  return [
    element("h3", {}, "Feature map of one sample"),
    image,
    element("p", { class: "key" }, `${plural(channels, "channel")}, side by side.`),
  ];
}

function histogramSection({ histograms, codebooks }, chosen, redraw) {
  const drawn = (histograms || []).filter(
    ({ low, high, counts }) => known(low) && known(high) && known(counts),
  );
  if (!drawn.length) return [];
  const books = codebooks || [];
  const book = books.find(({ bits }) => bits === chosen.bits) || books[0];
  return [
    element(
      "div",
      { class: "bar" },
      element("h3", {}, "Values per channel"),
      book ? codebookMenu(books, book, chosen, redraw) : null,
    ),
    element(
      "div",
      { class: "histograms" },
      ...drawn.map((one) => histogramPlot(one, book ? book.centroids : [])),
    ),
    element(
      "p",
      { class: "key" },
      `Square-root scale.${book ? " Vertical lines: centroids of the codebook." : ""}`,
    ),
  ];
}

function codebookMenu(books, book, chosen, redraw) {
  const options = books.map(({ bits }) =>
    element("option", { value: bits }, `${plural(bits, "bit")}`),
  );
  const menu = element(
    "select",
    { id: "codebook", "aria-label": "Width of the codebook that is drawn in" },
    ...options,
  );
  menu.value = book.bits;
  menu.addEventListener("change", () => {
    chosen.bits = Number(menu.value);
    redraw();
    document.getElementById("codebook").focus();
  });
  return menu;
}

function missing(point) {
  const names = {
    sparsity: "zeros",
    entropy_bits: "entropy",
    coded: "coded bytes",
    histograms: "histograms",
    picture: "feature map",
  };
  const absent = Object.keys(names)
    .filter((key) => !known(point[key]))
    .map((key) => names[key]);
  if (!absent.length) return null;
  return element("p", { class: "quiet" }, `Not measured: ${absent.join(", ")}.`);
}
