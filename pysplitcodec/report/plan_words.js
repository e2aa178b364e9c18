// What figures of a plan are called, and how they are written.

const PART_NAMES = {
  compute_s: "computing",
  codec_s: "coding",
  link_s: "link",
  server_s: "server",
  ship_s: "sending weights",
};

const FIGURE_NAMES = {
  payload_bytes: "bytes sent",
  accuracy_drop: "answers that change",
  energy_j: "energy of the device",
  price: "price of the server",
};

function secondsText(seconds) {
  return seconds ? timeText(1000 * seconds) : "0";
}

function joulesText(joules) {
  if (!joules || joules >= 1) return `${digits(joules)}\u00a0J`;
  return joules >= 1e-3 ? `${digits(1e3 * joules)}\u00a0mJ` : `${digits(1e6 * joules)}\u00a0µJ`;
}

function rateText(rate) {
  return known(rate) ? prefixed(rate, "bit/s") : "any";
}

const FIGURE_TEXTS = {
  payload_bytes: bytesText,
  accuracy_drop: percentText,
  energy_j: joulesText,
  price: digits,
};

// The first of the names that a converter joined.
function layerText(name, length) {
  const [first, ...joined] = name.split(";");
  if (name.length <= length || !joined.length) return withoutMiddle(name, length);
  return `${withoutMiddle(first, length - 2)};…`;
}

// Without "split at".
function candidateText(row) {
  if (!known(row.split_point)) return row.way;
  return `${layerText(row.name, 32)}, ${plural(row.bits, "bit")}, ${row.coder}`;
}

function describeCandidate(row) {
  return [
    row.way,
    `${secondsText(row.latency_s)}, ${bytesText(row.payload_bytes)} sent`,
    known(row.accuracy_drop) ? `${percentText(row.accuracy_drop)} of answers change` : null,
    ...row.why_not,
  ].filter(known);
}

function swatch(name, text) {
  const mark = element("i", {});
  mark.style.background = `var(--${name})`;
  return element("span", {}, mark, text);
}
