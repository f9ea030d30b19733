// Tables that sort by their headings and download as CSV.
"use strict";

const FIRST_ROWS = 25;

/**
 * A table.
 * columns: [{ title, value: (row) => text | number | null, show: (row) => text, numeric }]
 * options: name of the CSV file, caption, the column that sorts at first (by, down; -1: none), and
 * what a click on a row does.
 */
function dataTable(columns, rows, { file, caption, by = 0, down = false, choose = null }) {
  const state = { by, down, all: false };
  const holder = el("div", { class: "table" });

  function compared(a, b) {
    const [x, y] = [columns[state.by].value(a), columns[state.by].value(b)];
    if (x == null || y == null) return (x == null) - (y == null);
    const order = typeof x === "number" ? x - y : String(x).localeCompare(String(y), language);
    return state.down ? -order : order;
  }

  function heading(column, place) {
    const sorted = state.by === place;
    const sort = () => {
      state.down = sorted ? !state.down : Boolean(column.numeric);
      state.by = place;
      draw();
      holder.querySelectorAll("th button")[place].focus();
    };
    const direction = state.down ? "descending" : "ascending";
    return el(
      "th",
      {
        scope: "col",
        class: column.numeric ? "numeric" : null,
        "aria-sort": sorted ? direction : null,
      },
      el("button", { type: "button", click: sort }, column.title),
    );
  }

  function line(row) {
    const cells = columns.map((column) =>
      el(
        "td",
        { class: column.numeric ? "numeric" : null },
        column.show ? column.show(row) : (column.value(row) ?? "–"),
      ),
    );
    if (!choose) return el("tr", {}, cells);
    return el("tr", { class: "choosable", click: () => choose(row) }, cells);
  }

  function draw() {
    const sorted = state.by < 0 ? rows : [...rows].sort(compared);
    const shown = state.all ? sorted : sorted.slice(0, FIRST_ROWS);
    holder.replaceChildren(
      el(
        "div",
        { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
        el(
          "table",
          {},
          el("caption", {}, caption),
          el("thead", {}, el("tr", {}, columns.map(heading))),
          el("tbody", {}, shown.map(line)),
        ),
      ),
      el(
        "p",
        { class: "actions" },
        sorted.length > shown.length
          ? el(
              "button",
              {
                type: "button",
                click: () => {
                  state.all = true;
                  draw();
                },
              },
              `${word("all_rows")} (${number(sorted.length)})`,
            )
          : null,
        el(
          "button",
          { type: "button", class: "csv", click: () => download(file, csv(columns, sorted)) },
          word("csv"),
        ),
      ),
    );
  }

  draw();
  return holder;
}

/** Rows as CSV (RFC 4180): points in numbers; a text that a sheet would run as a formula is kept. */
function csv(columns, rows) {
  const field = (value) => {
    if (value == null) return "";
    if (typeof value === "number") return String(Number(value.toFixed(4)));
    const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = [
    columns.map((column) => field(column.title)),
    ...rows.map((row) => columns.map((column) => field(column.value(row)))),
  ];
  return lines.map((line) => line.join(",")).join("\r\n") + "\r\n";
}
