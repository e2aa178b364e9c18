// Candidates, the one that is selected, and the profiles of device, link and server.

function candidateColumns(report, state) {
  const times = report.parts.map((part) => ({
    key: part,
    title: PART_NAMES[part],
    of: (row) => row[part],
    show: secondsText,
  }));
  const columns = [
    { key: "index", title: "#", hint: "the order of the plan", of: (row) => row.index, show: (value) => String(value + 1) },
    {
      key: "name",
      title: "Split point",
      heads: true,
      of: (row) => row.name,
      show: (name) => element("span", { class: "name", title: name }, layerText(name, 34)),
    },
    { key: "bits", title: "Bits", of: (row) => row.bits, show: String },
    { key: "coder", title: "Coder", of: (row) => row.coder, show: String },
    { key: "latency_s", title: "Latency", of: (row) => row.latency_s, show: secondsText },
    ...times.filter(({ of }) => report.rows.some((row) => of(row) > 0)),
    { key: "payload_bytes", title: "Bytes", of: (row) => row.payload_bytes, show: bytesText },
    { key: "accuracy_drop", title: "Changed", hint: "answers that change, a bound of the accuracy that is lost", of: (row) => row.accuracy_drop, show: percentText },
    { key: "energy_j", title: "Energy", of: (row) => row.energy_j, show: joulesText },
    { key: "price", title: "Price", of: (row) => row.price || null, show: digits },
    { key: "head_bytes", title: "Weights", hint: "bytes of the head's weights", of: (row) => row.head_bytes, show: bytesText },
    { key: "ram_bytes", title: "RAM", hint: "that the head needs at a time", of: (row) => row.ram_bytes, show: bytesText },
    { key: "why_not", title: "Keeps the limits", of: (row) => row.why_not.join("; "), show: (text) => text || "yes" },
  ];
  return columns.filter(({ of }) => state.shown().some((row) => known(of(row))));
}

function tableView(report, state, choose) {
  const box = document.getElementById("table");
  const view = sortableTable(box, state, choose, {
    points: () => state.shown(),
    columns: () => candidateColumns(report, state),
  });
  return {
    ...view,
    draw() {
      view.draw();
      document.getElementById("table-title").textContent =
        `Candidates: ${exactText(state.shown().length)} of ${exactText(report.rows.length)}`;
    },
  };
}

function detailView(report, state) {
  const box = document.getElementById("detail");
  return {
    draw() {},
    mark() {
      const row = state.point;
      document.getElementById("detail-title").textContent =
        row ? `Candidate ${row.index + 1} of ${report.rows.length}` : "Candidate";
      if (row) box.replaceChildren(element("p", { class: "name" }, row.way), ...candidateFacts(row, report));
    },
  };
}

function candidateFacts(row, report) {
  const given = (name, value, show) => (known(value) ? [name, show(value)] : null);
  return [
    definitions([
      given("Keeps the limits", row.feasible, (kept) => (kept ? "yes" : "no")),
      given("Latency", row.latency_s, secondsText),
      ...report.parts.map((part) => given(PART_NAMES[part], row[part], secondsText)),
      given("Bytes sent", row.payload_bytes, (value) => digits(value)),
      given("Elements of the feature", row.elements || null, exactText),
      given("Answers that change", row.accuracy_drop, percentText),
      ["Energy of the device", known(row.energy_j) ? joulesText(row.energy_j) : "not known"],
      given("Price of the server", row.price || null, digits),
      given("MACs on the device", row.head_macs, countText),
      given("MACs on the server", row.tail_macs, countText),
      given("Weights on the device", row.head_bytes, bytesText),
      given("RAM of the head", row.ram_bytes, bytesText),
      given("Inputs a second, pipelined", row.frames_per_s, digits),
    ]),
    row.split_point ? element("p", { class: "key" }, "Split there: ", element("code", {}, `--at '${row.split_point}'`)) : null,
    row.feasible ? null : element("p", { class: "key" }, row.why_not.join("; ")),
  ].filter(known);
}

function writeProfiles(report) {
  document.getElementById("profiles").replaceChildren(
    ...report.profiles.flatMap(({ role, name, description, figures }) => [
      element("h3", {}, `${role}: `, element("span", { class: "name" }, name), " ", element("span", { class: "quiet" }, description)),
      element(
        "table",
        { class: "profile" },
        element("tbody", {}, ...figures.map((figure) =>
          element("tr", {}, element("th", { scope: "row" }, figure.name), element("td", {}, figure.value), element("td", { class: "quiet" }, figure.source)),
        )),
      ),
    ]),
  );
}

function writeOrigin(report) {
  document.getElementById("origin").replaceChildren(
    ...[report.command && element("p", {}, element("code", {}, report.command))].filter(Boolean),
    element("p", { class: "quiet" }, `pysplitcodec ${report.version}; bytes are means over ${plural(report.samples - Math.floor(report.samples / 2), "input")} of ${exactText(report.samples)}.`),
    ...report.notes.map((note) => element("p", { class: "quiet" }, note)),
  );
}
