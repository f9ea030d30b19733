// The page of a forest run: map of alerts, filters, cards, table by week, coverage.
"use strict";

const CARDS_A_TIME = 12;
const CHANGED = { confirmed: "#a50061", low: "#e08214" };
/** Of an alert that the health channel tells of; confirmed or not is then told by the dashes alone. */
const ILL = "#0571b0";
const WATCHED = { status: [0, 1, 2, 3, 4, 5, 6], coverage_week: [0] };
const NOT_FOREST = 250;
const SVG = "http://www.w3.org/2000/svg";
/** Columns that a card shows in its own way, or not at all; any other is shown by its title. */
const OWN = new Set([
  "alert_id", "status", "date_min", "date_max", "confirmed_on", "probability", "magnitude", "n_obs",
  "area_ha", "lon", "lat", "adm_id", "event", "cause", "cause_prob", "outline",
]);

const ALERTS = rowsOf(DATA.alerts);
const DISTRICTS = new Map(DATA.districts.map((district) => [district.id, district]));
const NOTHING = { from: "", to: "", status: "", channel: "", cause: "", district: "", event: "" };

let filters = { ...NOTHING };
let chosen = null;
let showOnMap = () => {};

const isIll = (alert) => alert.channel === "health";
const colourOf = (alert) => (isIll(alert) ? ILL : (CHANGED[alert.status] ?? CHANGED.low));
const nameOf = (id) => DISTRICTS.get(id)?.[language] ?? word("outside");

const passes = (alert) =>
  (!filters.from || (alert.date_max ?? "") >= filters.from) &&
  (!filters.to || (alert.date_max ?? "") <= filters.to) &&
  (!filters.status || alert.status === filters.status) &&
  (!filters.channel || alert.channel === filters.channel) &&
  (!filters.cause || alert.cause === filters.cause) &&
  (!filters.district || (alert.adm_id ?? "-") === filters.district) &&
  (!filters.event || alert.event === filters.event);

function figures() {
  const figure = (value, key, alerts) =>
    el(
      "div",
      { class: "figure" },
      el("strong", {}, value),
      el("span", {}, word(key)),
      alerts ? el("span", { class: "detail" }, hectares(sum(alerts.map((a) => a.area_ha)))) : null,
    );
  const by = (key, value) => ALERTS.filter((alert) => alert[key] === value);
  const fresh = by("event", "new");
  const share = (name, key) => {
    const found = watchedShare(DATA.coverage.find((each) => each.name === name));
    return found == null ? null : figure(`${number(100 * found)}\u00a0%`, key);
  };
  return el(
    "div",
    { class: "figures" },
    figure(number(fresh.length), "new_alerts", fresh),
    figure(number(by("status", "confirmed").length), "confirmed_alerts", by("status", "confirmed")),
    figure(number(by("status", "low").length), "low_alerts", by("status", "low")),
    share("status", "watched"),
    share("coverage_week", "seen_this_week"),
  );
}

/** Share of the forest in the classes that count as watched, null without any forest. */
function watchedShare(layer) {
  if (!layer) return null;
  const forest = layer.classes.filter(([value]) => value !== NOT_FOREST);
  const total = sum(forest.map(([, , , area]) => area));
  const seen = forest.filter(([value]) => WATCHED[layer.name].includes(value));
  return total ? sum(seen.map(([, , , area]) => area)) / total : null;
}

function filterBar(changed) {
  const set = (key) => (event) => {
    filters[key] = event.target.value;
    changed();
  };
  const labelled = (key, control) => el("label", {}, el("span", {}, word(key)), control);
  const date = (key, title) =>
    labelled(title, el("input", { type: "date", id: `filter-${key}`, value: filters[key], change: set(key) }));
  const select = (key, title, options) =>
    labelled(
      title,
      el(
        "select",
        { id: `filter-${key}`, change: set(key) },
        [["", word("all")], ...options].map(([value, text]) =>
          el("option", { value, selected: filters[key] === value }, text),
        ),
      ),
    );
  const values = (key) => [...new Set(ALERTS.map((alert) => alert[key]))].filter((v) => v != null);
  const districts = values("adm_id").map((id) => [id, nameOf(id)]);
  districts.sort((a, b) => a[1].localeCompare(b[1], language));
  if (ALERTS.some((alert) => alert.adm_id == null)) districts.push(["-", word("outside")]);
  const causes = values("cause").map((cause) => [cause, coded("cause", cause)]);
  const channels = values("channel").map((channel) => [channel, coded("channel", channel)]);
  return el(
    "form",
    { class: "filters", "aria-label": word("active_filters"), submit: (event) => event.preventDefault() },
    date("from", "date_from"),
    date("to", "date_to"),
    select("status", "confidence", values("status").map((each) => [each, word(each)])),
    channels.length > 1 ? select("channel", "channel", channels) : null,
    causes.length ? select("cause", "cause", causes) : null,
    select("district", "district", districts),
    select("event", "event", values("event").map((each) => [each, coded("event", each)])),
    el(
      "button",
      {
        type: "button",
        class: "quiet",
        click: () => {
          filters = { ...NOTHING };
          changed({ afresh: true });
        },
      },
      word("reset"),
    ),
  );
}

function alertsOnMap(map, alerts) {
  const group = L.featureGroup().addTo(map);
  for (const alert of alerts) {
    const style = {
      color: colourOf(alert),
      weight: 1.5,
      fillOpacity: 0.45,
      dashArray: alert.status === "confirmed" ? null : "3 3",
    };
    const shape = alert.outline
      ? L.polygon(decoded(alert.outline), style)
      : L.circleMarker([alert.lat, alert.lon], { ...style, radius: 3 });
    shape.on("click", () => choose(alert)).addTo(group);
  }
  return group;
}

function choose(alert) {
  chosen = alert;
  const panel = document.getElementById("chosen");
  panel.replaceChildren(alert ? card(alert) : el("p", { class: "hint" }, word("map_help")));
}

function mapSection() {
  const names = DATA.overlays.map((overlay) => either(overlay.title));
  const place = el("div", { id: "map", role: "region", "aria-label": word("map") });
  const legendPlace = el("div", {}, legend(DATA.overlays[0]));
  const choice = el(
    "fieldset",
    { class: "choice" },
    el("legend", {}, word("background")),
    names.map((name, at) =>
      el(
        "label",
        {},
        el("input", { type: "radio", name: "overlay", value: at, checked: at === 0 }),
        name,
      ),
    ),
  );
  const alertLegend = el(
    "ul",
    { class: "legend" },
    el("li", {}, swatch(CHANGED.confirmed, "outline"), word("confirmed")),
    el("li", {}, swatch(CHANGED.low, "outline dashed"), word("low")),
    ALERTS.some(isIll) ? el("li", {}, swatch(ILL, "outline"), coded("channel", "health")) : null,
    ALERTS.some((alert) => !alert.outline) ? el("li", {}, swatch(CHANGED.low, "dot"), word("dot")) : null,
  );
  const content = el(
    "div",
    { class: "with-panel" },
    el(
      "div",
      {},
      place,
      el("div", { class: "under-map" }, alertLegend, choice, legendPlace),
    ),
    el("div", { id: "chosen", "aria-live": "polite" }),
  );
  function begin() {
    const { map, show } = mapOn(place, DATA, DATA.overlays[0]?.bounds);
    let group = null;
    choice.addEventListener("change", (event) => {
      show(Number(event.target.value));
      legendPlace.replaceChildren(legend(DATA.overlays[event.target.value]));
    });
    showOnMap = (alert) => {
      map.fitBounds(
        alert.outline
          ? L.polygon(decoded(alert.outline)).getBounds().pad(2)
          : L.latLng(alert.lat, alert.lon).toBounds(1000),
        { maxZoom: 15 },
      );
      choose(alert);
      document.getElementById("map-section").scrollIntoView({ behavior: "smooth" });
    };
    return (alerts) => {
      group?.remove();
      group = alertsOnMap(map, alerts);
    };
  }
  return { element: section("map-section", "map", content), begin };
}

function card(alert) {
  const seen = DATA.close_ups[alert.alert_id];
  const window = alert.date_min ? span(alert.date_min, alert.date_max) : `≤ ${day(alert.date_max)}`;
  const cause =
    alert.cause == null
      ? null
      : coded("cause", alert.cause) +
        (alert.cause_prob == null ? "" : ` (${number(100 * alert.cause_prob)} %)`);
  return el(
    "article",
    { class: `card ${alert.status}`, "data-alert": alert.alert_id },
    el(
      "header",
      {},
      el("h3", {}, `${hectares(alert.area_ha)}, ${nameOf(alert.adm_id)}`),
      el("span", { class: `badge ${alert.status}` }, word(alert.status)),
    ),
    seen && Object.keys(seen.chips).length ? chips(seen) : null,
    el(
      "dl",
      { class: "facts" },
      fact("changed", window),
      fact("confirmed_on", day(alert.confirmed_on)),
      cause ? fact("cause", cause) : null,
      fact("probability", alert.probability == null ? null : `${number(100 * alert.probability)} %`),
      fact("departure", number(alert.magnitude, 2)),
      fact("n_obs", number(alert.n_obs)),
      fact("coordinates", `${alert.lat.toFixed(4)}, ${alert.lon.toFixed(4)}`),
      fact("event", coded("event", alert.event)),
      others(alert, OWN),
    ),
    seen ? indexCharts(alert, seen) : null,
    el(
      "p",
      { class: "actions" },
      el("button", { type: "button", class: "quiet", click: () => showOnMap(alert) }, word("show_map")),
    ),
  );
}

function chips({ chips: { before, after }, outline }) {
  const figure = (chip, key) =>
    chip
      ? el(
          "figure",
          {},
          el(
            "div",
            { class: "chip" },
            el("img", { src: chip.image, alt: `${word(key)}, ${day(chip.date)}`, loading: "lazy" }),
            outlined(outline),
          ),
          el("figcaption", {}, `${word(key)} · ${day(chip.date)}`),
        )
      : null;
  return el("div", { class: "chips" }, figure(before, "before"), figure(after, "after"));
}

/** Rings over a picture, by shares of its sides. */
function outlined(rings) {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("viewBox", "0 0 1 1");
  drawing.setAttribute("aria-hidden", "true");
  for (const ring of rings) {
    const line = document.createElementNS(SVG, "polygon");
    line.setAttribute("points", ring.map((vertex) => vertex.join(",")).join(" "));
    drawing.append(line);
  }
  return drawing;
}

/** NDVI, which people know, and folded beneath it what the monitor itself has watched. */
function indexCharts(alert, seen) {
  const [first, ...rest] = Object.keys(seen.series).filter((name) => seen.series[name].days.length);
  if (!first) return null;
  const folded = (name) =>
    el(
      "details",
      { class: "folded" },
      el("summary", {}, `${word("watched_index")}: ${name.toUpperCase()}`),
      indexChart(alert, name, seen),
    );
  return [indexChart(alert, first, seen), ...rest.map(folded)];
}

/** Days of the year between which a series is observed: the model says nothing of the winter. */
function inSeason(days) {
  const dayOfYear = (at) => {
    const date = new Date(at * 1000);
    return (at - Date.UTC(date.getUTCFullYear(), 0, 1) / 1000) / DAY;
  };
  const seen = days.map((iso) => dayOfYear(seconds(iso)));
  const [first, last] = [Math.min(...seen), Math.max(...seen)];
  return (at) => dayOfYear(at) >= first && dayOfYear(at) <= last;
}

/** Observations of an index, and its seasonal model with two sigma around it. */
function indexChart(alert, index, seen) {
  const { days, values } = seen.series[index];
  const model = seen.models[index];
  const title = index.toUpperCase();
  const observed = new Map(days.map((iso, at) => [seconds(iso), values[at]]));
  const times = new Set(observed.keys());
  if (model && days.length)
    for (let at = seconds(days[0]); at <= seconds(days[days.length - 1]); at += 5 * DAY) times.add(at);
  const x = [...times].sort((a, b) => a - b);
  const season = inSeason(days);
  const curve = (sigmas) =>
    x.map((at) => (season(at) ? seasonal(model.coefficients, at) + sigmas * model.sigma : null));
  const data = [x, x.map((at) => observed.get(at) ?? null)];
  const series = [
    {},
    { stroke: INK, points: { show: true, size: 5, fill: INK, stroke: INK }, paths: () => null },
  ];
  if (model) {
    data.push(curve(0), curve(2), curve(-2));
    const edge = { stroke: "transparent", points: { show: false } };
    series.push({ stroke: "#2f7d4f", width: 1.5, points: { show: false } }, edge, edge);
  }
  const marks = [alert.date_min, alert.date_max].filter(Boolean).map(seconds);
  const options = (width) => ({
    width,
    height: 150,
    legend: { show: false },
    cursor: { show: false },
    axes: axes(1),
    scales: { x: { time: true } },
    series,
    bands: model ? [{ series: [3, 4], fill: "#2f7d4f22" }] : [],
    hooks: { draw: [(plot) => drawMarks(plot, marks, colourOf(alert))] },
  });
  const label = `${title}: ${word("observed")}, ${model ? word("model") : ""}`;
  return el(
    "div",
    { class: "index" },
    el(
      "p",
      { class: "chart-title" },
      title,
      el("span", { class: "key observed" }, word("observed")),
      model ? el("span", { class: "key model" }, `${word("model")} ± 2σ`) : null,
    ),
    chart(label, options, data),
  );
}

/** Between which two days the change lies. */
function drawMarks(plot, times, colour) {
  const { ctx, bbox } = plot;
  const at = times.map((time) => plot.valToPos(time, "x", true));
  ctx.save();
  ctx.fillStyle = `${colour}33`;
  ctx.strokeStyle = colour;
  if (at.length === 2) ctx.fillRect(at[0], bbox.top, Math.max(1, at[1] - at[0]), bbox.height);
  ctx.beginPath();
  ctx.moveTo(at[at.length - 1], bbox.top);
  ctx.lineTo(at[at.length - 1], bbox.top + bbox.height);
  ctx.stroke();
  ctx.restore();
}

/** Cards of the alerts, newest and largest with pictures first. */
function cardList(alerts) {
  const order = [...alerts].sort(
    (a, b) =>
      (b.alert_id in DATA.close_ups) - (a.alert_id in DATA.close_ups) ||
      (b.event === "new") - (a.event === "new") ||
      String(b.date_max).localeCompare(String(a.date_max)) ||
      b.area_ha - a.area_ha,
  );
  const grid = el("div", { class: "cards" });
  const more = el("button", { type: "button", click: add }, word("more"));
  function add() {
    const shown = grid.childElementCount;
    grid.append(...order.slice(shown, shown + CARDS_A_TIME).map(card));
    more.hidden = grid.childElementCount >= order.length;
  }
  add();
  const few = order.some((alert) => !(alert.alert_id in DATA.close_ups));
  return [
    order.length ? null : el("p", { class: "hint" }, word("empty")),
    few ? el("p", { class: "hint" }, word("chips_none")) : null,
    grid,
    el("p", { class: "actions" }, more),
  ];
}

function weekTable(alerts) {
  const groups = new Map();
  for (const alert of alerts) {
    const week = alert.date_max ? monday(alert.date_max) : "";
    const key = `${week}/${alert.adm_id}`;
    const group = groups.get(key) ?? { week, district: nameOf(alert.adm_id), n: 0, ha: 0, sure: 0 };
    group.n += 1;
    group.ha += alert.area_ha;
    group.sure += alert.status === "confirmed" ? alert.area_ha : 0;
    groups.set(key, group);
  }
  const rows = [...groups.values()];
  const columns = [
    { title: word("week"), value: (row) => row.week, show: (row) => weekInWords(row.week) },
    { title: word("district"), value: (row) => row.district },
    { title: word("number"), value: (row) => row.n, show: (row) => number(row.n), numeric: true },
    { title: word("area_ha"), value: (row) => row.ha, show: (row) => number(row.ha, 1), numeric: true },
    { title: word("confirmed_ha"), value: (row) => row.sure, show: (row) => number(row.sure, 1), numeric: true },
  ];
  return dataTable(columns, rows, { file: "alerts_by_week.csv", caption: word("by_week"), by: 0, down: true });
}

function weekInWords(week) {
  if (!week) return "–";
  const end = midnight(week);
  end.setUTCDate(end.getUTCDate() + 6);
  return span(week, end.toISOString().slice(0, 10));
}

function weekChart(alerts) {
  const totals = new Map();
  for (const alert of alerts)
    if (alert.date_max) {
      const week = seconds(monday(alert.date_max));
      totals.set(week, (totals.get(week) ?? 0) + alert.area_ha);
    }
  const x = [...totals.keys()].sort((a, b) => a - b);
  if (!x.length) return null;
  const options = (width) => ({
    width,
    height: 150,
    legend: { show: false },
    cursor: { show: false },
    axes: axes(0),
    scales: { x: { range: (_, low, high) => [low - 14 * DAY, high + 14 * DAY] }, y: { range: (_, __, high) => [0, high * 1.05] } },
    series: [
      {},
      {
        stroke: CHANGED.confirmed,
        fill: `${CHANGED.confirmed}99`,
        paths: uPlot.paths.bars({ size: [0.7, 24, 3] }),
        points: { show: false },
      },
    ],
  });
  return [
    el("p", { class: "chart-title" }, word("ha_by_week")),
    chart(word("ha_by_week"), options, [x, x.map((week) => totals.get(week))]),
  ];
}

function coverageSection() {
  const parts = DATA.coverage.map((layer) => {
    const classes = layer.classes.filter(([value]) => value !== NOT_FOREST);
    const total = sum(classes.map(([, , , area]) => area));
    if (!total) return null;
    const bar = el("div", { class: "bar", "aria-hidden": "true" });
    for (const [, colour, , area] of classes) {
      const piece = el("span");
      piece.style.setProperty("--share", area / total);
      piece.style.setProperty("--colour", colour);
      bar.append(piece);
    }
    const columns = [
      { title: word("class"), value: (row) => either(row[2]), show: (row) => el("span", {}, swatch(row[1]), either(row[2])) },
      { title: word("area_ha"), value: (row) => row[3], show: (row) => number(row[3], 0), numeric: true },
      { title: word("share"), value: (row) => row[3] / total, show: (row) => `${number((100 * row[3]) / total, 1)} %`, numeric: true },
    ];
    return el(
      "div",
      {},
      el("h3", {}, either(layer.title)),
      bar,
      dataTable(columns, classes, { file: `${layer.name}.csv`, caption: either(layer.title), by: 1, down: true }),
    );
  });
  return section("coverage", "coverage", el("div", { class: "columns" }, parts));
}

function render() {
  const { element: mapElement, begin } = mapSection();
  const result = el("p", { class: "result", role: "status" });
  const cards = el("div");
  const weeks = el("div");
  const bar = el("div", {}, filterBar(changed));
  let draw = () => {};

  function changed({ afresh = false } = {}) {
    if (afresh) bar.replaceChildren(filterBar(changed));
    const alerts = ALERTS.filter(passes);
    const area = hectares(sum(alerts.map((alert) => alert.area_ha)));
    result.textContent = `${word("shown")}: ${number(alerts.length)} ${word("of")} ${number(ALERTS.length)}, ${area}`;
    draw(alerts);
    cards.replaceChildren(...cardList(alerts).filter(Boolean));
    weeks.replaceChildren(...[weekChart(alerts), weekTable(alerts)].flat().filter(Boolean));
  }

  document.getElementById("page").replaceChildren(
    pageHeader(word("forest_title"), render),
    el(
      "main",
      { id: "content" },
      figures(),
      bar,
      result,
      mapElement,
      section("alerts", "alerts", cards),
      section("weeks", "by_week", el("p", { class: "hint" }, word("by_week_note")), weeks),
      coverageSection(),
      aboutRun(),
    ),
  );
  draw = begin();
  choose(chosen);
  changed();
}

render();
