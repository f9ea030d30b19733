// The page of a harvest run: map of forecast and anomaly, districts with their charts, tables.
"use strict";

const YIELDS = ["#ffffd9", "#c7e9b4", "#7fcdbb", "#41b6c4", "#1d91c0", "#225ea8"];
const DEPARTURES = ["#8c510a", "#d8b365", "#f6e8c3", "#c7eae5", "#5ab4ac", "#01665e"];
const UNKNOWN = "#d5d7d0";
const SEASON_START = 60; // day of the year of the first value of a curve; then every five days
const SEASON_STEP = 5;
/** Columns that the page shows in its own way, or not at all. */
const OWN = new Set([
  "adm_id", "forecast_id", "year", "cutoff", "yield_t_ha", "q05_t_ha", "q10_t_ha", "q50_t_ha",
  "q90_t_ha", "q95_t_ha", "area_ha", "skill", "usual_t_ha", "anomaly", "ndvi_anomaly", "district",
  "note_en", "note_ru", "boosters_t_ha", "plain_t_ha", "model_weight", "reasons_en", "reasons_ru",
]);

const TABLES = ["rows", "yields", "hindcast", "skill", "by_year", "claims", "errors", "totals"];
const CROPS = DATA.crops.map((crop) => ({
  ...crop,
  ...Object.fromEntries(TABLES.map((name) => [name, rowsOf(crop[name])])),
}));
const DISTRICTS = new Map(DATA.districts.map((district) => [district.id, district]));
const byName = (rows) =>
  [...rows].sort((a, b) => nameOf(a.adm_id).localeCompare(nameOf(b.adm_id), language));
const nameOf = (id) => DISTRICTS.get(id)?.[language] ?? id;

let crop = CROPS[0];
let shownOnMap = "yield_t_ha";
let chosen = null;

/** What the map can show: its colours and how its values are told. */
const MAPPED = {
  yield_t_ha: { key: "forecast", colours: YIELDS, show: (v) => number(v, 2), unit: () => word("t_ha") },
  anomaly: { key: "anomaly", colours: DEPARTURES, centre: true, show: (v) => signed(v, 0), unit: () => "%" },
  ndvi_anomaly: { key: "ndvi_anomaly", colours: DEPARTURES, centre: true, show: (v) => signed(v, 2), unit: () => "NDVI" },
};

const signed = (value, digits) =>
  value == null ? "–" : `${value >= 0.5 / 10 ** digits ? "+" : ""}${number(value, digits)}`;

/** Edges of equal classes around the values, around nothing for departures. */
function classes(values, { colours, centre }) {
  const known = values.filter((value) => value != null);
  if (!known.length) return [];
  let [low, high] = [Math.min(...known), Math.max(...known)];
  if (centre) [low, high] = [-Math.max(-low, high, 0.01), Math.max(-low, high, 0.01)];
  if (high === low) high = low + 1;
  const step = (high - low) / colours.length;
  return colours.map((colour, at) => ({ colour, from: low + at * step, to: low + (at + 1) * step }));
}

const colourOf = (value, scale) =>
  value == null ? UNKNOWN : (scale.find((each) => value <= each.to) ?? scale.at(-1)).colour;

/** The forecast of the whole area on the day of the page; means of the districts where it is not told. */
function whole() {
  const known = crop.rows.filter((row) => row.yield_t_ha != null);
  const weight = (row) => row.area_ha ?? 1;
  const mean = sum(known.map((row) => row.yield_t_ha * weight(row))) / sum(known.map(weight));
  const total = crop.totals.find((row) => row.cutoff === crop.cutoff) ?? { yield_t_ha: mean };
  return { ...total, known };
}

function figures() {
  const { known, ...total } = whole();
  const weight = (row) => row.area_ha ?? 1;
  const past = known.filter((row) => row.usual_t_ha != null);
  const usual = sum(past.map((row) => row.usual_t_ha * weight(row))) / sum(past.map(weight));
  const error = crop.skill.find((row) => row.forecaster === "forecast")?.nrmse;
  const figure = (value, key, detail) =>
    el("div", { class: "figure" }, el("strong", {}, value), el("span", {}, word(key)), detail ? el("span", { class: "detail" }, detail) : null);
  const districts = `${number(known.length)} ${word("districts")}`;
  return el(
    "div",
    { class: "figures" },
    figure(number(total.yield_t_ha, 2), "mean_yield", total.q10_t_ha == null ? districts : `80 %: ${between(total.q10_t_ha, total.q90_t_ha, 2)} · ${districts}`),
    total.production_t == null ? null : figure(number(total.production_t / 1000), "thousand_t", `80 %: ${produced(total)}`),
    past.length ? figure(`${signed(100 * (total.yield_t_ha / usual - 1), 0)}\u00a0%`, "anomaly") : null,
    error == null ? null : figure(`${number(error, 0)}\u00a0%`, "past_error"),
    figure(day(crop.cutoff), "cutoff", `${word("harvest_year")} ${crop.year}`),
  );
}

/** What may be believed of the numbers, in a sentence. */
function verdict() {
  const skilled = crop.rows.some((row) => row.skill);
  const claim = crop.claims.find((row) => row.cutoff === crop.cutoff);
  const told = [
    claim?.lead_days > 0 ? `${number(claim.lead_days)} ${word("lead")}.` : null,
    claim?.[`mask_${language}`] ? `${word("mask")}: ${claim[`mask_${language}`]}.` : null,
  ].filter((text) => text);
  return [
    notice(skilled ? "skill" : "no_skill", skilled ? "" : "strong"),
    told.length ? el("p", { class: "hint" }, told.join(" ")) : null,
  ];
}

function cropChoice(render) {
  if (CROPS.length < 2) return null;
  const button = (each) =>
    el(
      "button",
      {
        type: "button",
        "data-crop": each.crop,
        "aria-pressed": String(each === crop),
        click: () => {
          crop = each;
          render();
          document.querySelector(`[data-crop="${CSS.escape(each.crop)}"]`).focus();
        },
      },
      either(each.name),
    );
  return el("div", { class: "crops", role: "group", "aria-label": word("crop") }, CROPS.map(button));
}

function choose(row) {
  chosen = row?.adm_id ?? null;
  const panel = document.getElementById("chosen");
  panel.replaceChildren(row ? card(row) : el("p", { class: "hint" }, word("map_districts_help")));
}

function mapSection() {
  const place = el("div", { id: "map", role: "region", "aria-label": word("map") });
  const legendPlace = el("div");
  const options = Object.keys(MAPPED).filter((name) => crop.rows.some((row) => row[name] != null));
  const overlays = DATA.overlays.map((overlay) => overlay.name);
  if (![...options, ...overlays].includes(shownOnMap)) [shownOnMap] = [...options, ...overlays];
  const choice = el(
    "fieldset",
    { class: "choice" },
    el("legend", {}, word("on_map")),
    [
      ...options.map((name) => [name, word(MAPPED[name].key)]),
      ...DATA.overlays.map((overlay) => [overlay.name, either(overlay.title)]),
    ].map(([name, text]) =>
      el(
        "label",
        {},
        el("input", { type: "radio", name: "mapped", value: name, checked: name === shownOnMap }),
        text,
      ),
    ),
  );
  const content = el(
    "div",
    { class: "with-panel" },
    el("div", {}, place, el("div", { class: "under-map" }, choice, legendPlace)),
    el("div", { id: "chosen", "aria-live": "polite" }),
  );
  function begin() {
    const { map, show: showOverlay } = mapOn(place, DATA);
    let group = null;
    const draw = () => {
      group?.remove();
      group = L.featureGroup().addTo(map);
      const how = MAPPED[shownOnMap];
      const scale = how ? classes(crop.rows.map((row) => row[shownOnMap]), how) : [];
      showOverlay(overlays.indexOf(shownOnMap));
      for (const row of crop.rows) {
        const district = DISTRICTS.get(row.adm_id);
        if (!district) continue;
        const style = { color: "#3d423a", weight: 1, fillColor: how && colourOf(row[shownOnMap], scale), fillOpacity: how ? 0.9 : 0 };
        L.polygon(decoded(district.outline), style).on("click", () => choose(row)).addTo(group);
      }
      legendPlace.replaceChildren(
        legend(DATA.overlays[overlays.indexOf(shownOnMap)]) ?? el(
          "ul",
          { class: "legend" },
          scale.map(({ colour, from, to }) => el("li", {}, swatch(colour), `${how.show(from)} … ${how.show(to)}`)),
          el("li", { class: "unit" }, how?.unit()),
        ),
      );
    };
    choice.addEventListener("change", (event) => {
      shownOnMap = event.target.value;
      draw();
    });
    draw();
  }
  return { element: section("map-section", "map", content), begin };
}

function card(row) {
  return el(
    "article",
    { class: "card district", "data-district": row.adm_id },
    el("header", {}, el("h3", {}, nameOf(row.adm_id)), el("strong", {}, `${number(row.yield_t_ha, 2)} ${word("t_ha")}`)),
    el(
      "dl",
      { class: "facts" },
      fact("interval", `${number(row.q10_t_ha, 2)} – ${number(row.q90_t_ha, 2)}`),
      fact("anomaly", row.anomaly == null ? "–" : `${signed(row.anomaly, 0)} %`),
      fact("ndvi_anomaly", signed(row.ndvi_anomaly, 2)),
      fact("harvested", row.area_ha == null ? "–" : hectares(row.area_ha)),
      others(row, OWN),
    ),
    row[`note_${language}`] ? el("p", { class: "hint" }, row[`note_${language}`]) : null,
    reasons(row),
    analogues(row),
    seasonChart(row),
    pastChart(row),
  );
}

/** What moved the forecast of a district, in words. */
function reasons(row) {
  const told = crop.reasons[row.adm_id];
  if (!told && !Object.keys(crop.analogues).length) return null;
  return el(
    "div",
    { class: "reasons" },
    el("p", { class: "chart-title" }, word("reasons")),
    told ? el("ul", {}, told.map((pair) => el("li", {}, either(pair)))) : el("p", { class: "hint" }, word("reasons_none")),
  );
}

/** Past years whose season looked most alike, with what they yielded. */
function analogues(row) {
  const told = crop.analogues[row.adm_id];
  if (!told) return null;
  const line = (each) => {
    const share = each.ratio_mean5 == null ? "" : ` (${number(100 * each.ratio_mean5)} % ${word("of_usual")})`;
    const grown = each.observed_t_ha == null ? "–" : `${number(each.observed_t_ha, 2)} ${word("t_ha")}${share}`;
    return el("li", {}, el("strong", {}, String(each.analogue_year)), ` ${grown}`);
  };
  return el(
    "div",
    { class: "analogues" },
    el("p", { class: "chart-title" }, word("analogues")),
    el("ul", {}, rowsOf(told).map(line)),
  );
}

/** Past forecasts of a district that can be judged. */
const judged = (row) =>
  crop.hindcast.filter((each) => each.adm_id === row.adm_id && each.observed_t_ha != null && each.q10_t_ha != null);

const hits = (past) =>
  past.filter((each) => each.q10_t_ha <= each.observed_t_ha && each.observed_t_ha <= each.q90_t_ha).length;

/** NDVI of this year against the range of past years. */
function seasonChart(row) {
  const curves = crop.curves[row.adm_id];
  if (!curves) return null;
  const start = Date.UTC(crop.year, 0, 1) / 1000 - DAY;
  const range = curves.past[1].map((_, at) => start + (SEASON_START + at * SEASON_STEP) * DAY);
  const observed = new Map(curves.days.map((iso, at) => [seconds(iso), curves.values[at]]));
  const x = [...new Set([...range, ...observed.keys()])].sort((a, b) => a - b);
  const place = new Map(range.map((at, i) => [at, i]));
  // between two days of the grid the range goes on straight
  const along = (values) => x.map((at) => (place.has(at) ? values[place.get(at)] : undefined));
  const [low, middle, high] = curves.past.map(along);
  const hidden = { stroke: "transparent", points: { show: false } };
  const options = (width) => ({
    width,
    height: 170,
    legend: { show: false },
    cursor: { show: false },
    axes: axes(1),
    series: [
      {},
      hidden,
      hidden,
      { stroke: "#7d8a78", width: 1.5, dash: [5, 4], points: { show: false } },
      { stroke: "#00695c", width: 2.5, points: { show: true, size: 5, fill: "#00695c" }, spanGaps: true },
    ],
    bands: [{ series: [1, 2], fill: "#9aa89433" }],
  });
  const label = `NDVI ${crop.year}, ${word("past_range")}`;
  const now = x.map((at) => (observed.has(at) ? observed.get(at) : undefined));
  return el(
    "div",
    { class: "index" },
    el(
      "p",
      { class: "chart-title" },
      `NDVI ${crop.year}`,
      el("span", { class: "key range" }, `${word("past_range")} (${number(curves.years)})`),
    ),
    chart(label, options, [x, high, low, middle, now]),
  );
}

/** Observed yields, what was forecast for each past year with its interval, and this forecast. */
function pastChart(row) {
  const own = (rows) => rows.filter((each) => each.adm_id === row.adm_id);
  const observed = new Map(own(crop.yields).map((each) => [each.year, each.yield_t_ha]));
  const said = new Map(own(crop.hindcast).map((each) => [each.year, each]));
  said.set(crop.year, row);
  const x = [...new Set([...observed.keys(), ...said.keys()])].sort((a, b) => a - b);
  const of = (name) => x.map((year) => said.get(year)?.[name] ?? null);
  const [low, high] = [of("q10_t_ha"), of("q90_t_ha")];
  const base = axes(1);
  const options = (width) => ({
    width,
    height: 170,
    legend: { show: false },
    cursor: { show: false },
    axes: [{ ...base[0], space: 36, incrs: [1, 2, 5, 10], values: (_, years) => years.map(String) }, base[1]],
    scales: {
      x: { time: false, range: () => [x[0] - 0.5, x.at(-1) + 0.5] },
      y: { range: (_, bottom, top) => [Math.max(0, Math.min(bottom, ...low.filter((v) => v != null))) * 0.95, Math.max(top, ...high.filter((v) => v != null)) * 1.05] },
    },
    series: [
      {},
      { stroke: INK, width: 1.5, points: { show: true, size: 5, fill: INK } },
      { stroke: "#b35900", paths: () => null, points: { show: true, size: 8, stroke: "#b35900", fill: "#fff", width: 2 } },
    ],
    hooks: { drawSeries: [(plot, at) => at === 1 && drawIntervals(plot, x, low, high)] },
  });
  const label = `${word("observed_yield")}, ${word("forecast")}`;
  return el(
    "div",
    { class: "index" },
    el(
      "p",
      { class: "chart-title" },
      word("past_record"),
      el("span", { class: "key observed" }, word("observed_yield")),
      el("span", { class: "key said" }, word("forecast_80")),
    ),
    chart(label, options, [x, x.map((year) => observed.get(year) ?? null), of("yield_t_ha")]),
  );
}

function forecastTable() {
  const plain = (key, name, digits) => ({
    title: word(key),
    numeric: true,
    value: (row) => row[name],
    show: (row) => number(row[name], digits),
  });
  const production = (row) =>
    row.area_ha == null || row.yield_t_ha == null ? null : (row.area_ha * row.yield_t_ha) / 1000;
  const columns = [
    {
      title: word("district"),
      value: (row) => nameOf(row.adm_id),
      show: (row) => el("button", { type: "button", class: "link", click: () => show(row) }, nameOf(row.adm_id)),
    },
    plain("forecast_t_ha", "yield_t_ha", 2),
    plain("low_t_ha", "q10_t_ha", 2),
    plain("high_t_ha", "q90_t_ha", 2),
    plain("usual_t_ha", "usual_t_ha", 2),
    { title: `${word("anomaly")}, %`, numeric: true, value: (row) => row.anomaly, show: (row) => signed(row.anomaly, 0) },
    { title: word("ndvi_anomaly"), numeric: true, value: (row) => row.ndvi_anomaly, show: (row) => signed(row.ndvi_anomaly, 2) },
    plain("harvested_ha", "area_ha", 0),
    { title: word("production"), numeric: true, value: production, show: (row) => number(production(row), 1) },
    {
      title: word("past_hits"),
      numeric: true,
      value: (row) => (judged(row).length ? hits(judged(row)) / judged(row).length : null),
      show: (row) => (judged(row).length ? `${hits(judged(row))} ${word("of")} ${judged(row).length}` : "–"),
    },
  ];
  const file = `forecast_${crop.crop}_${crop.year}.csv`;
  return dataTable(columns, crop.rows, { file, caption: word("forecast"), by: 0 });
}

function show(row) {
  choose(row);
  document.getElementById("map-section").scrollIntoView({ behavior: "smooth" });
}

function skillTable() {
  if (!crop.skill.length) return el("p", { class: "hint" }, word("no_past"));
  const share = (name) => ({
    value: (row) => row[name],
    show: (row) => (row[name] == null ? "–" : `${number(100 * row[name], 0)} %`),
    numeric: true,
  });
  const columns = [
    { title: word("forecaster"), value: (row) => coded("by", row.forecaster) },
    { title: word("nrmse"), value: (row) => row.nrmse, show: (row) => number(row.nrmse, 1), numeric: true },
    { title: word("mae"), value: (row) => row.mae, show: (row) => number(row.mae, 2), numeric: true },
    { title: word("skill_plain"), ...share("skill_plain") },
    { title: word("hits"), ...share("coverage80") },
  ];
  return dataTable(columns, crop.skill, { file: `skill_${crop.crop}.csv`, caption: word("how_good"), by: 1 });
}

/** Every measure of every forecaster, for those who ask. */
function measures() {
  const names = Object.keys(crop.skill[0] ?? {}).filter((name) => `measure_${name}` in DATA.words);
  if (names.length < 2) return null;
  const columns = [
    { title: word("forecaster"), value: (row) => coded("by", row.forecaster) },
    ...names.map((name) => ({
      title: word(`measure_${name}`),
      numeric: true,
      value: (row) => row[name],
      show: (row) => number(row[name], name === "n" ? 0 : 2),
    })),
  ];
  const options = { file: `measures_${crop.crop}.csv`, caption: word("all_measures"), by: -1 };
  return el("details", { class: "folded" }, el("summary", {}, word("all_measures")), dataTable(columns, crop.skill, options));
}

function render() {
  const { element: mapElement, begin } = mapSection();
  document.getElementById("page").replaceChildren(
    pageHeader(word("harvest_title"), render),
    el(
      "main",
      { id: "content" },
      cropChoice(render),
      figures(),
      verdict(),
      mapElement,
      seasonSection(crop),
      section("table", "by_district", forecastTable()),
      section("skill", "how_good", el("p", { class: "hint" }, word("how_good_note")), skillTable(), measures(), yearTable(crop)),
      section("districts", "districts_title", el("div", { class: "cards" }, byName(crop.rows).map(card))),
      aboutRun(),
    ),
  );
  begin();
  choose(crop.rows.find((row) => row.adm_id === chosen));
}

render();
