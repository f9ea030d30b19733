// The harvest of the whole area through the season: fan of this year, error by day, past years.
"use strict";

const SAID = "#1d5f8a";
const WIDE = "#1d5f8a22";
const NARROW = "#1d5f8a44";
const NULL_BAND = "#e0a15e44";

const HIDDEN = { stroke: "transparent", points: { show: false } };
const UNDRAWN = { legend: { show: false }, cursor: { show: false } };

const between = (low, high, digits) => `${number(low, digits)}\u00a0–\u00a0${number(high, digits)}`;

/** Production of an 80 % interval, thousand t. */
const produced = (row) =>
  between((row.q10_t_ha * row.area_ha) / 1000, (row.q90_t_ha * row.area_ha) / 1000, 0);

/** A chart under its title and the keys of what is drawn. */
function titled(key, keys, element) {
  return el(
    "div",
    { class: "index" },
    el("p", { class: "chart-title" }, word(key), keys.map(([kind, name]) => el("span", { class: `key ${kind}` }, word(name)))),
    element,
  );
}

/** Forecast of the whole area as it moved from one day of issue to the next. */
function fan(crop) {
  if (crop.totals.length < 2) return null;
  const of = (name) => crop.totals.map((row) => row[name]);
  const options = (width) => ({
    ...UNDRAWN,
    width,
    height: 200,
    axes: dayAxes(crop.totals.map((row) => row.cutoff), 1),
    series: [
      {}, HIDDEN, HIDDEN, HIDDEN, HIDDEN,
      { stroke: SAID, width: 2.5, points: { show: true, size: 7, fill: SAID } },
    ],
    bands: [{ series: [1, 2], fill: WIDE }, { series: [3, 4], fill: NARROW }],
  });
  const data = [of("cutoff").map(seconds), of("q95_t_ha"), of("q05_t_ha"), of("q90_t_ha"), of("q10_t_ha"), of("yield_t_ha")];
  const keys = [["blue", "forecast"], ["blue80", "key_80"], ["blue90", "key_90"]];
  return titled("season_fan", keys, chart(word("season_fan"), options, data));
}

/** Error of past years by day of issue, beside past yields alone and the year-permuted null. */
function errors(crop) {
  const days = [...new Set(crop.errors.map((row) => row.cutoff))].sort();
  if (days.length < 2) return null;
  const of = (forecaster) =>
    days.map((day) => crop.errors.find((row) => row.cutoff === day && row.forecaster === forecaster)?.nrmse ?? null);
  const claims = days.map((day) => crop.claims.find((row) => row.cutoff === day));
  const said = of("forecast");
  const options = (width) => ({
    ...UNDRAWN,
    width,
    height: 200,
    axes: dayAxes(days, 0),
    scales: { y: { range: (_, low, high) => [0, high * 1.08] } },
    series: [
      {}, HIDDEN, HIDDEN,
      { stroke: "#7d8a78", width: 1.5, dash: [5, 4], points: { show: false } },
      { stroke: SAID, width: 2.5, points: { show: true, size: 8, fill: "#fff", width: 2 } },
      { stroke: SAID, paths: () => null, points: { show: true, size: 8, fill: SAID, width: 2 } },
    ],
    bands: [{ series: [1, 2], fill: NULL_BAND }],
  });
  const data = [
    days.map(seconds),
    claims.map((claim) => claim?.null_nrmse_high ?? null),
    claims.map((claim) => claim?.null_nrmse_low ?? null),
    of("plain"),
    said,
    said.map((value, at) => (claims[at]?.skill ? value : null)),
  ];
  const keys = [["blue", "by_forecast"], ["bluedot", "skill_dot"], ["dashed", "plain"], ["orange", "null"]];
  return titled("season_errors", keys, chart(word("season_errors"), options, data));
}

/** Observed against forecast on the day of the page, all districts and past years. */
function againstObserved(crop) {
  const rows = crop.hindcast
    .filter((row) => row.observed_t_ha != null && row.yield_t_ha != null)
    .sort((a, b) => a.observed_t_ha - b.observed_t_ha);
  if (!rows.length) return null;
  const of = (name) => rows.map((row) => row[name]);
  const x = of("observed_t_ha");
  const known = [...x, ...of("yield_t_ha"), ...of("q10_t_ha"), ...of("q90_t_ha")].filter((value) => value != null);
  const range = [Math.max(0, Math.min(...known) - 0.2), Math.max(...known) + 0.2];
  const labelled = axes(1);
  const options = (width) => ({
    ...UNDRAWN,
    width,
    height: 240,
    axes: [{ ...labelled[0], values: (_, splits) => splits.map((value) => number(value, 1)) }, labelled[1]],
    scales: { x: { time: false, range: () => range }, y: { range: () => range } },
    series: [
      {},
      { stroke: SAID, paths: () => null, points: { show: true, size: 5, fill: SAID } },
    ],
    hooks: { draw: [(plot) => drawDiagonal(plot, range)], drawSeries: [(plot) => drawIntervals(plot, x, of("q10_t_ha"), of("q90_t_ha"), { colour: NARROW, width: 1.5 })] },
  });
  const element = chart(word("season_past"), options, [x, of("yield_t_ha")]);
  return el("div", {}, titled("season_past", [], element), el("p", { class: "hint" }, word("season_axes")));
}

function drawDiagonal(plot, [low, high]) {
  const { ctx } = plot;
  ctx.save();
  ctx.strokeStyle = INK;
  ctx.lineWidth = devicePixelRatio;
  ctx.beginPath();
  ctx.moveTo(plot.valToPos(low, "x", true), plot.valToPos(low, "y", true));
  ctx.lineTo(plot.valToPos(high, "x", true), plot.valToPos(high, "y", true));
  ctx.stroke();
  ctx.restore();
}

function drawIntervals(plot, x, low, high, { colour = "#e0a15e", width = 4 } = {}) {
  const { ctx } = plot;
  ctx.save();
  ctx.strokeStyle = colour;
  ctx.lineWidth = width * devicePixelRatio;
  x.forEach((at, i) => {
    if (low[i] == null || high[i] == null) return;
    const column = plot.valToPos(at, "x", true);
    ctx.beginPath();
    ctx.moveTo(column, plot.valToPos(low[i], "y", true));
    ctx.lineTo(column, plot.valToPos(high[i], "y", true));
    ctx.stroke();
  });
  ctx.restore();
}

/** Axes whose marks are the days of issue themselves, thinned to what fits. */
function dayAxes(days, digits) {
  const [across, up] = axes(digits);
  const step = Math.ceil(days.length / 6);
  const marks = days.filter((_, at) => at % step === 0);
  const short = new Intl.DateTimeFormat(language, { day: "numeric", month: "short", timeZone: "UTC" });
  return [
    { ...across, splits: () => marks.map(seconds), values: () => marks.map((iso) => short.format(midnight(iso))) },
    up,
  ];
}

function totalTable(crop) {
  if (!crop.totals.length) return null;
  const interval = (key, low, high) => ({
    title: word(key),
    numeric: true,
    value: (row) => (row[low] == null ? null : `${row[low].toFixed(2)}–${row[high].toFixed(2)}`),
    show: (row) => (row[low] == null ? "–" : between(row[low], row[high], 2)),
  });
  const columns = [
    { title: word("issued"), value: (row) => row.cutoff, show: (row) => day(row.cutoff) },
    { title: word("mean_forecast"), numeric: true, value: (row) => row.yield_t_ha, show: (row) => number(row.yield_t_ha, 2) },
    interval("interval", "q10_t_ha", "q90_t_ha"),
    interval("interval_90", "q05_t_ha", "q95_t_ha"),
    {
      title: word("production"),
      numeric: true,
      value: (row) => (row.production_t == null ? null : row.production_t / 1000),
      show: (row) => (row.production_t == null ? "–" : `${number(row.production_t / 1000)} (${produced(row)})`),
    },
    { title: word("claimed"), value: (row) => word(row.skill ? "claimed_yes" : "claimed_no") },
  ];
  const file = `total_${crop.crop}_${crop.year}.csv`;
  return dataTable(columns, crop.totals, { file, caption: word("season_fan"), by: 0 });
}

function seasonSection(crop) {
  const charts = [fan(crop), errors(crop), againstObserved(crop)].filter((each) => each);
  if (!charts.length && !crop.totals.length) return null;
  return section("season", "season_title", el("div", { class: "columns thirds" }, charts), totalTable(crop));
}

/** Past years one by one: what was forecast on this day, and what came. */
function yearTable(crop) {
  if (!crop.by_year.length) return null;
  const plain = (key, name, digits) => ({
    title: word(key),
    numeric: true,
    value: (row) => row[name],
    show: (row) => number(row[name], digits),
  });
  const share = (key, name) => ({
    ...plain(key, name),
    show: (row) => (row[name] == null ? "–" : `${number(100 * row[name])} %`),
  });
  const columns = [
    { title: word("year"), value: (row) => row.year, show: (row) => String(row.year) },
    plain("year_observed", "observed_t_ha", 2),
    plain("mean_forecast", "yield_t_ha", 2),
    plain("year_rmse", "rmse", 2),
    plain("year_rmse_plain", "rmse_plain", 2),
    share("measure_coverage80", "coverage80"),
    share("measure_coverage90", "coverage90"),
    plain("measure_width80", "width80", 0),
    share("model_weight", "model_weight"),
  ];
  const claim = crop.claims.find((row) => row.cutoff === crop.cutoff);
  return el(
    "div",
    { id: "years" },
    el("h3", {}, word("by_year")),
    claim?.worst_years ? el("p", { class: "hint" }, `${word("worst_years")}: ${claim.worst_years}`) : null,
    dataTable(columns, crop.by_year, { file: `years_${crop.crop}.csv`, caption: word("by_year"), by: 0 }),
  );
}
