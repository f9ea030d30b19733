// Charts by uPlot, drawn when they come into view, all of them before printing.
"use strict";

const DAY = 86_400;
const EPOCH = Date.UTC(2015, 0, 1) / 1000; // day number 0 of the monitor's models
const INK = "#2b2f2a";
const GRID = { stroke: "#e4e6e0", width: 1 };

const waiting = new Map();
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) drawNow(entry.target);
}, { rootMargin: "300px" });

function drawNow(element) {
  const draw = waiting.get(element);
  if (!draw) return;
  waiting.delete(element);
  watcher.unobserve(element);
  draw();
}

window.addEventListener("beforeprint", () => [...waiting.keys()].forEach(drawNow));

/** A chart that keeps the width of its place. `options(width)` gives uPlot's options. */
function chart(label, options, data) {
  const element = el("div", { class: "chart", role: "img", "aria-label": label });
  waiting.set(element, () => {
    const width = () => Math.max(220, Math.floor(element.clientWidth));
    const plot = new uPlot(options(width()), data, element);
    new ResizeObserver(() => {
      if (element.isConnected) plot.setSize({ width: width(), height: plot.height });
    }).observe(element);
  });
  watcher.observe(element);
  return element;
}

const seconds = (iso) => Date.parse(`${iso}T00:00:00Z`) / 1000;

/** Axes in the language of the page. */
function axes(digits) {
  const font = "12px system-ui, sans-serif";
  return [
    { font, stroke: INK, grid: GRID, ticks: GRID, space: 60, size: 32, values: timeLabels },
    {
      font,
      stroke: INK,
      grid: GRID,
      ticks: GRID,
      size: 44,
      values: (_, splits) => splits.map((value) => number(value, digits)),
    },
  ];
}

/** Years, or months with the year where it is another than before. */
function timeLabels(_, splits, __, ___, step) {
  const months = new Intl.DateTimeFormat(language, { month: "short", timeZone: "UTC" });
  let before = null;
  return splits.map((at) => {
    const date = new Date(at * 1000);
    const year = date.getUTCFullYear();
    const another = year !== before;
    before = year;
    if (step >= 300 * DAY) return String(year);
    return another ? `${months.format(date)} ${year}` : months.format(date);
  });
}

/** Value of a seasonal model at a time: β₀ + Σ a cos 2πkτ + b sin 2πkτ. */
function seasonal(coefficients, at) {
  const phase = (2 * Math.PI * (at - EPOCH)) / DAY / 365.25;
  let value = coefficients[0];
  for (let i = 1; i < coefficients.length; i += 2) {
    const k = (i + 1) / 2;
    value += coefficients[i] * Math.cos(k * phase) + coefficients[i + 1] * Math.sin(k * phase);
  }
  return value;
}
