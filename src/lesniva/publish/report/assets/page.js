// The words, numbers and parts that every page is made of.
// Texts of the data reach the page as text nodes only, never as markup.
"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);

let language = DATA.language;

/** The word of a key in the language of the page. */
const word = (key) => DATA.words[key][language === "ru" ? 1 : 0];

/** One of a pair [English, Russian]. */
const either = (pair) => pair[language === "ru" ? 1 : 0];

/** An element: attributes by name, functions as listeners, then children (texts or elements). */
function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child != null));
  return element;
}

/** A number with thousands apart, in the manner of the language. */
function number(value, digits = 0) {
  if (value == null || Number.isNaN(value)) return "–";
  const options = { minimumFractionDigits: digits, maximumFractionDigits: digits, signDisplay: "negative" };
  return new Intl.NumberFormat(language, options).format(value).replace("-", "−");
}

const hectares = (value) => `${number(value, value < 100 ? 1 : 0)}\u00a0${word("ha")}`;

const midnight = (iso) => new Date(`${iso}T00:00:00Z`);

const dates = () =>
  new Intl.DateTimeFormat(language, { dateStyle: "medium", timeZone: "UTC" });

/** A date in words; ISO text in, a dash where there is none. */
const day = (iso) => (iso ? dates().format(midnight(iso)).replace(/\sг\.$/, "") : "–");

/** From one date to another, what they share said once. */
const span = (from, to) =>
  dates().formatRange(midnight(from), midnight(to)).replaceAll(/\sг\./g, "");

/** Monday of the week of a date, as ISO text. */
function monday(iso) {
  const date = midnight(iso);
  date.setUTCDate(date.getUTCDate() - ((date.getUTCDay() + 6) % 7));
  return date.toISOString().slice(0, 10);
}

/** Rows of a table that came as columns. */
function rowsOf(columns) {
  const entries = Object.entries(columns);
  return entries[0][1].map((_, at) => Object.fromEntries(entries.map(([key, all]) => [key, all[at]])));
}

/** Words of a coded value; the code itself where there are none. */
const coded = (prefix, value) =>
  value == null ? "–" : `${prefix}_${value}` in DATA.words ? word(`${prefix}_${value}`) : value;

const sum = (values) => values.reduce((total, value) => total + (value ?? 0), 0);

/** Offer a text as a file. */
function download(name, text) {
  const address = URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv" }));
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** A line that keeps the reader from taking results for more than they are. */
const notice = (key, kind) => el("p", { class: `notice ${kind}` }, word(key));

function languageSwitch(render) {
  const button = (code, label) =>
    el(
      "button",
      {
        type: "button",
        lang: code,
        "aria-pressed": String(language === code),
        click: () => {
          language = code;
          render();
          document.querySelector(`.languages [lang="${code}"]`).focus();
        },
      },
      label,
    );
  return el(
    "div",
    { class: "languages", role: "group", "aria-label": word("language") },
    button("ru", "Русский"),
    button("en", "English"),
  );
}

/** Title, warnings and language of a page. */
function pageHeader(title, render) {
  const { run } = DATA;
  const last = run.scenes.length ? run.scenes[run.scenes.length - 1][0] : null;
  document.documentElement.lang = language;
  document.title = `${title}: ${run.area[language]}`;
  for (const element of document.querySelectorAll("[data-word]"))
    element.textContent = word(element.dataset.word);
  return el(
    "header",
    {},
    el(
      "div",
      { class: "title" },
      el(
        "div",
        {},
        el("h1", {}, run.area[language]),
        el("p", { class: "kicker" }, `${title} · ${word("data_until")} ${day(last)}`),
      ),
      el(
        "div",
        { class: "tools" },
        el("button", { type: "button", class: "quiet", click: () => print() }, word("print")),
        languageSwitch(render),
      ),
    ),
    run.synthetic ? notice("synthetic", "strong") : el("p", { class: "credit" }, run.credit),
    run.approximate ? notice("approximate", "") : null,
    Object.keys(run.faults).length ? notice("partial", "strong") : null,
  );
}

function section(id, key, ...children) {
  return el(
    "section",
    { id, "aria-labelledby": `${id}-title` },
    el("h2", { id: `${id}-title` }, word(key)),
    ...children,
  );
}
