// The end of every page: how the results were made.
"use strict";

const LONG = 40; // letters of a fact that needs a line of its own

function aboutRun() {
  const { run } = DATA;
  const rows = (entries, titles, file) =>
    dataTable(
      titles.map(([key, numeric], at) => ({
        title: word(key),
        numeric,
        value: (row) => row[at],
        show: (row) => (numeric ? number(row[at], 1) : String(row[at])),
      })),
      entries,
      { file, caption: word(file.slice(0, -4)), by: -1 },
    );
  const fold = (key, count, ...content) =>
    el(
      "details",
      {},
      el("summary", {}, word(key), count == null ? "" : ` (${number(count)})`),
      ...content,
    );
  const faults = Object.entries(run.faults);
  return section(
    "about",
    "about",
    el(
      "dl",
      { class: "facts" },
      fact("run", run.run_id),
      fact("started", run.started.replace("T", " ")),
      fact("version", run.versions.lesniva),
      fact("territory", run.area[language]),
    ),
    el("p", { class: "credit" }, run.synthetic ? word("synthetic") : run.credit),
    run.warnings.length
      ? el(
          "div",
          { class: "notice" },
          el("h3", {}, word("warnings")),
          el("ul", {}, run.warnings.map((each) => el("li", {}, each[language]))),
        )
      : null,
    faults.length
      ? el(
          "div",
          { class: "notice strong" },
          el("h3", {}, word("faults")),
          el("ul", {}, faults.map(([what, why]) => el("li", {}, `${what}: ${why}`))),
        )
      : null,
    fold(
      "durations",
      null,
      rows(Object.entries(run.stages), [["stage"], ["duration", true]], "stage.csv"),
    ),
    fold("versions", null, rows(Object.entries(run.versions), [["library"], ["version"]], "versions.csv")),
    fold(
      "scenes",
      run.scenes.length,
      rows(run.scenes, [["date"], ["scene"], ["baseline"]], "scenes.csv"),
    ),
    fold("settings", null, el("pre", { tabindex: "0" }, JSON.stringify(run.settings, null, 2))),
  );
}

/** Facts of the columns that a page does not know; of a pair _en and _ru the one to read. */
function others(row, known) {
  return Object.keys(row)
    .filter((key) => !known.has(key) && row[key] != null && row[key] !== "")
    .filter((key) => !/_(en|ru)$/.test(key) || key.endsWith(`_${language}`))
    .filter((key) => !(`${key}_ru` in row) || language === "en")
    .map((key) => {
      const named = DATA.titles[key] ? either(DATA.titles[key]) : key.replace(/_(en|ru)$/, "");
      const title = named.replace(/ \((English|англ\.)\)$/, ""); // of the two it is the one shown
      const value = row[key];
      const text = inWords(key, value);
      return el(
        "div",
        { class: text.length > LONG ? "wide" : null },
        el("dt", {}, title.charAt(0).toUpperCase() + title.slice(1)),
        el("dd", {}, text),
      );
    });
}

/** A number or a date in the manner of the language, a code in words, any other text as it is. */
function inWords(key, value) {
  if (typeof value === "number") return number(value, Number.isInteger(value) ? 0 : 2);
  const text = String(value);
  return /^\d{4}-\d{2}-\d{2}$/.test(text) ? day(text) : coded(key, text);
}

function fact(key, value) {
  return el("div", {}, el("dt", {}, word(key)), el("dd", {}, value ?? "–"));
}
