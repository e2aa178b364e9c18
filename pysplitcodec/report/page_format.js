"use strict";
// Numbers as people read them, and making of elements.  Names come from model files and may be
// anything: they become text and attributes here, never markup.

const NOT_MEASURED = "not measured";
const MINUS = "\u2212";

function element(tag, attributes, ...children) {
  return furnish(document.createElement(tag), attributes, children);
}

function drawing(tag, attributes, ...children) {
  return furnish(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function furnish(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (known(value)) node.setAttribute(key, value);
  }
  node.append(...children.flat().filter(known));
  return node;
}

function known(value) {
  return value !== null && value !== undefined;
}

function written(value, format) {
  return known(value) ? format(value) : NOT_MEASURED;
}

// Three significant digits, but every digit of an integer below 1000.
function digits(value) {
  if (Number.isInteger(value) && Math.abs(value) < 1000) return String(value);
  const text = Number(value).toPrecision(3);
  return String(Number(text)).replace("-", MINUS);
}

function prefixed(value, unit, separator = "\u00a0") {
  const prefixes = ["", "k", "M", "G", "T", "P"];
  let power = 0;
  while (Math.abs(value) >= 999.5 && power < prefixes.length - 1) {
    value /= 1000;
    power += 1;
  }
  return (digits(value) + separator + prefixes[power] + unit).trim();
}

function bytesText(value) {
  return prefixed(value, "B");
}

function countText(value) {
  return prefixed(value, "");
}

function exactText(value) {
  return Math.round(value).toLocaleString("en").replace(/,/g, "\u202f");
}

function timeText(ms) {
  if (ms >= 1000) return `${digits(ms / 1000)}\u00a0s`;
  return ms >= 0.1 ? `${digits(ms)}\u00a0ms` : `${digits(1000 * ms)}\u00a0µs`;
}

function percentText(share) {
  const percent = 100 * share;
  if (percent > 0 && percent < 0.1) return "<\u00a00.1\u00a0%";
  if (percent > 99.9 && percent < 100) return ">\u00a099.9\u00a0%";
  return `${percent.toFixed(percent > 0 && percent < 100 ? 1 : 0)}\u00a0%`;
}

function shapeText(shape) {
  return shape.length ? shape.join("\u202f×\u202f") : "scalar";
}

function shortened(text, length) {
  const letters = Array.from(text);
  return letters.length <= length ? text : letters.slice(0, length - 1).join("") + "…";
}

// Layers' names differ at their ends.
function withoutMiddle(text, length) {
  const letters = Array.from(text);
  if (letters.length <= length) return text;
  const end = Math.floor((length * 2) / 3);
  return `${letters.slice(0, length - end - 1).join("")}…${letters.slice(-end).join("")}`;
}

function plural(count, noun) {
  return `${exactText(count)} ${noun}${count === 1 ? "" : "s"}`;
}

function definitions(pairs) {
  return element(
    "dl",
    { class: "facts" },
    ...pairs
      .filter(known)
      .map(([term, value]) =>
        element("div", {}, element("dt", {}, term), element("dd", {}, value)),
      ),
  );
}

// ---------------------------------------------------------------- tooltip

function showTooltip(lines, event) {
  const tooltip = document.getElementById("tooltip");
  tooltip.replaceChildren(...lines.filter(known).map((line) => element("div", {}, line)));
  tooltip.hidden = false;
  const box = tooltip.getBoundingClientRect();
  const left = Math.min(event.clientX + 14, window.innerWidth - box.width - 8);
  const below = event.clientY + 16;
  const fits = below + box.height < window.innerHeight - 8;
  tooltip.style.left = `${Math.max(8, left)}px`;
  tooltip.style.top = `${Math.max(8, fits ? below : event.clientY - box.height - 12)}px`;
}

function hideTooltip() {
  document.getElementById("tooltip").hidden = true;
}
