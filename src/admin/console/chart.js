// Charts of the last hour. Each has its figures in words for those who do not see it; a table has all of them.

import { $, element, svg, write } from "./dom.js";
import * as words from "./words.js";

const SPAN = 3600;
const MINUTE = 60;
const HEIGHT = 132;
const EDGE = { top: 8, right: 6, bottom: 20, left: 46 };

/** A round number that is not below `n`. */
function above(n, step) {
  let unit = 1;
  while (unit * step <= n) unit *= step;
  const parts = step === 1024 ? [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024] : [1, 2, 4, 6, 8, 10];
  return unit * (parts.find((part) => unit * part >= n) ?? step);
}

export class Chart {
  #svg;
  #lines;
  #marks;
  #grid;
  #series;
  #word;
  #step;
  #legend;
  #when;
  #samples = { at: [], columns: [] };
  #title;
  #text;
  #bars;

  /** `series`: `{ name, tone }`; `word` gives a value its words; `step` is 1024 for bytes, otherwise 10; `bars` says how wide one is. */
  constructor(place, { title, series, word, step = 10, bars, pointed }) {
    this.#series = series;
    this.#word = word;
    this.#step = step;
    this.#title = title;
    this.#bars = bars;
    const id = `chart-${title.split(" ")[0].toLowerCase()}`;
    this.#text = svg("desc", { id: `${id}-text` });
    this.#grid = svg("g", { class: "grid" });
    this.#lines = svg("g", { class: "lines" });
    this.#marks = svg("line", { class: "mark-line", y1: EDGE.top, y2: HEIGHT - EDGE.bottom, visibility: "hidden" });
    const name = svg("title", { id: `${id}-title` }, title);
    const attributes = { role: "img", "aria-labelledby": `${id}-title ${id}-text`, height: HEIGHT };
    this.#svg = svg("svg", attributes, name, this.#text, this.#grid, this.#lines, this.#marks);
    this.#when = element("span", "when");
    this.#legend = element("ul", "legend");
    for (const one of series) {
      const item = element("li", "", element("span", "", one.name), element("b"));
      item.dataset.tone = one.tone;
      this.#legend.append(item);
    }
    const caption = element("figcaption", "", element("span", "title", title), this.#when);
    place.append(element("figure", "chart", caption, this.#legend, this.#svg));
    // With the next frame: what is drawn may change the size again.
    new ResizeObserver(() => requestAnimationFrame(() => this.#draw())).observe(place.lastElementChild);
    this.#svg.addEventListener("pointermove", (event) => pointed(this.#time(event.offsetX)));
    this.#svg.addEventListener("pointerleave", () => pointed(undefined));
  }

  /** `at`: seconds; `columns`: the values of each series. */
  show(at, columns) {
    this.#samples = { at, columns };
    this.#draw();
    this.point(undefined);
  }

  get #width() {
    return this.#svg.clientWidth || 320;
  }

  #x(at) {
    const inner = this.#width - EDGE.left - EDGE.right;
    const last = this.#samples.at.at(-1);
    return EDGE.left + inner * (1 - (last - at) / SPAN);
  }

  /** The time at a place. */
  #time(x) {
    const inner = this.#width - EDGE.left - EDGE.right;
    return this.#samples.at.at(-1) - SPAN * (1 - (x - EDGE.left) / inner);
  }

  /** Shows the values at a time, or the last ones. */
  point(time) {
    const { at, columns } = this.#samples;
    let index;
    at.forEach((one, n) => {
      if (time === undefined) return;
      if (index === undefined || Math.abs(one - time) < Math.abs(at[index] - time)) index = n;
    });
    const shown = index ?? at.length - 1;
    [...this.#legend.children].forEach((item, n) => {
      const value = columns[n]?.[shown];
      write(item.lastElementChild, value === undefined ? words.UNKNOWN : this.#word(value));
    });
    const pointed = index !== undefined;
    write(this.#when, pointed ? words.time(new Date(at[index] * 1000)) : "");
    this.#marks.setAttribute("visibility", pointed ? "visible" : "hidden");
    if (!pointed) return;
    for (const side of ["x1", "x2"]) this.#marks.setAttribute(side, this.#x(at[index]));
  }

  #draw() {
    const { at, columns } = this.#samples;
    const stacked = at.map((_, index) => columns.reduce((sum, column) => sum + column[index], 0));
    const top = above(Math.max(1, ...(this.#bars ? stacked : columns.flat())), this.#step);
    const base = HEIGHT - EDGE.bottom;
    const y = (value) => base - ((base - EDGE.top) * value) / top;
    this.#svg.setAttribute("viewBox", `0 0 ${this.#width} ${HEIGHT}`);
    const grid = [0, 0.5, 1].flatMap((part) => {
      const at = y(part * top);
      const line = svg("line", { x1: EDGE.left, x2: this.#width - EDGE.right, y1: at, y2: at });
      const exact = part * top;
      const label = Number.isInteger(exact) || this.#step === 1024 ? this.#word(exact).replace("/s", "") : "";
      return [line, svg("text", { x: EDGE.left - 6, y: at + 4, "text-anchor": "end" }, label)];
    });
    const last = at.at(-1);
    const hours = last === undefined ? [] : [0, 1200, 2400, 3600].map((ago) => {
      const anchor = ago === 0 ? "end" : ago === SPAN ? "start" : "middle";
      const text = words.minute(new Date((last - ago) * 1000));
      return svg("text", { x: this.#x(last - ago), y: HEIGHT - 4, "text-anchor": anchor }, text);
    });
    this.#grid.replaceChildren(...grid, ...hours);
    const lines = this.#bars ? this.#stack(y) : columns.flatMap((column, n) => {
      const path = column.map((value, index) => {
        // Where samples are missing, so is the line.
        const begins = index === 0 || at[index] - at[index - 1] > MINUTE;
        return `${begins ? "M" : "L"}${this.#x(at[index]).toFixed(1)} ${y(value).toFixed(1)}`;
      }).join("");
      const { tone } = this.#series[n];
      const line = svg("path", { d: path, class: "line", "data-tone": tone });
      if (n || !path) return [line];
      const area = `${path}L${this.#x(last).toFixed(1)} ${base}L${this.#x(at[0]).toFixed(1)} ${base}Z`;
      return [svg("path", { d: area, class: "area", "data-tone": tone }), line];
    });
    this.#lines.replaceChildren(...lines);
    const told = this.#series.map(({ name }, n) => {
      const column = columns[n] ?? [];
      if (!column.length) return `${name}: no figures yet.`;
      return `${name}: now ${this.#word(column.at(-1))}, highest ${this.#word(Math.max(...column))}, lowest ${this.#word(Math.min(...column))}.`;
    });
    write(this.#text, `${this.#title} of the last hour. ${told.join(" ")}`);
  }

  /** Bars, the series on top of each other. */
  #stack(y) {
    const { at, columns } = this.#samples;
    const width = Math.max(1, ((this.#width - EDGE.left - EDGE.right) * this.#bars) / SPAN - 1);
    return at.flatMap((end, index) => {
      let below = 0;
      return columns.map((column, n) => {
        const [bottom, top] = [y(below), y((below += column[index]))];
        return svg("rect", { x: (this.#x(end) - width).toFixed(1), y: top, width: width.toFixed(1), height: bottom - top, class: "block", "data-tone": this.#series[n].tone });
      });
    });
  }
}

/** A line without axes, for a cell. */
export function spark(node, values, label) {
  const width = 96;
  const height = 24;
  if (!node.firstElementChild) {
    node.append(svg("svg", { class: "spark", role: "img", width, height, viewBox: `0 0 ${width} ${height}` }, svg("path", {})));
  }
  const top = Math.max(1, ...values);
  const step = width / 359;
  const x = (index) => width - (values.length - 1 - index) * step;
  const path = values.map((value, index) => `${index ? "L" : "M"}${x(index).toFixed(1)} ${(height - 1 - ((height - 3) * value) / top).toFixed(1)}`);
  node.firstElementChild.setAttribute("aria-label", label);
  node.firstElementChild.firstElementChild.setAttribute("d", path.join(""));
}

const each = (column, passed) => column.map((value, index) => (passed[index] > 0 ? value / passed[index] : 0));

/** Sums of a minute each: the end of each, and the sums of each column. */
function minutes(at, columns) {
  const ends = [];
  const sums = columns.map(() => []);
  at.forEach((time, index) => {
    const end = Math.ceil(time / MINUTE) * MINUTE;
    if (ends.at(-1) !== end) {
      ends.push(end);
      for (const sum of sums) sum.push(0);
    }
    columns.forEach((column, n) => (sums[n][sums[n].length - 1] += column[index]));
  });
  return [ends, sums];
}

/** The charts of the page, and their table. */
export class Hour {
  #charts;
  #table = $("hour-table");
  #columns;

  constructor() {
    const pointed = (time) => this.#charts.forEach((chart) => chart.point(time));
    const place = $("charts");
    const make = (title, series, word, more) => new Chart(place, { title, series, word, pointed, ...more });
    const up = { name: "up", tone: "up" };
    const down = { name: "down", tone: "down" };
    this.#charts = [
      make("Sessions", [{ name: "running", tone: "up" }], words.count),
      make("Messages", [up, down], words.countEach),
      make("Bytes", [up, down], words.bytesEach, { step: 1024 }),
      make("Ends, a minute", [
        { name: "orderly", tone: "up" },
        { name: "other", tone: "bad" },
        { name: "refused", tone: "down" },
      ], words.count, { bars: MINUTE }),
    ];
    $("hour-figures").addEventListener("toggle", () => this.#fill());
  }

  show(history) {
    // The first sample has nothing before it that it could be compared with.
    const cut = (column) => column.slice(1);
    const passed = cut(history.passed_seconds);
    const rate = (name) => each(cut(history[name]), passed);
    const at = cut(history.at);
    this.#columns = {
      at,
      sessions: cut(history.sessions),
      messages: [rate("messages_up"), rate("messages_down")],
      bytes: [rate("bytes_up"), rate("bytes_down")],
      ends: ["orderly_ends", "other_ends", "refusals"].map((name) => cut(history[name])),
    };
    const { sessions, messages, bytes, ends } = this.#columns;
    [[sessions], messages, bytes].forEach((columns, n) => this.#charts[n].show(at, columns));
    this.#charts[3].show(...minutes(at, ends));
    $("hour-empty").hidden = at.length > 1;
    this.#fill();
  }

  /** Five minutes a row, the newest first. */
  #fill() {
    if (!$("hour-figures").open || !this.#columns) return;
    const { at, sessions, messages, bytes, ends } = this.#columns;
    const mean = (column) => (column.length ? column.reduce((a, b) => a + b, 0) / column.length : 0);
    const sum = (column) => column.reduce((a, b) => a + b, 0);
    const rows = [];
    for (let end = at.length; end > 0; end -= 30) {
      const part = (column) => column.slice(Math.max(0, end - 30), end);
      const row = element("tr", "", element("th", "", words.minute(new Date(at[end - 1] * 1000))));
      row.firstElementChild.scope = "row";
      const cells = [
        words.number(Math.max(...part(sessions))),
        ...messages.map((column) => words.countEach(mean(part(column)))),
        ...bytes.map((column) => words.bytesEach(mean(part(column)))),
        ...ends.map((column) => words.number(sum(part(column)))),
      ];
      row.append(...cells.map((text) => element("td", "number", text)));
      rows.push(row);
    }
    this.#table.replaceChildren(...rows);
  }
}
