// Tables whose rows stay the same elements while their figures change, so that focus, selection and the reading place stay too.

import { element, write } from "./dom.js";

/** So many rows that have ended keep their places; a pointer that was left on the page for the night does not gather more. */
const MOST_GONE = 100;

/**
 * A column: `label`; `cell(td, row)` fills a cell, or `text(row)` gives its text; `by(row)` makes it sortable; `number` aligns it;
 * `first` is the direction that the first press sorts in.
 */
export class Table {
  #columns;
  #key;
  #body;
  #rows = new Map();
  #sort;
  #heads = [];
  #select;
  #table;
  #items = [];

  constructor(table, { key, columns, sort, select }) {
    this.#table = table;
    this.#columns = columns;
    this.#key = key;
    this.#sort = sort;
    this.#select = select;
    // On narrow screens rows become cards by `display`, which would take the table's meaning away.
    table.setAttribute("role", "table");
    const row = element("tr");
    row.setAttribute("role", "row");
    for (const column of columns) row.append(this.#head(column));
    const head = element("thead", "", row);
    head.setAttribute("role", "rowgroup");
    this.#body = element("tbody");
    this.#body.setAttribute("role", "rowgroup");
    table.append(head, this.#body);
    if (select) this.#fillSelect();
    this.#showSort();
  }

  #head(column) {
    const head = element("th", column.number ? "number" : "");
    head.scope = "col";
    head.setAttribute("role", "columnheader");
    if (column.by) {
      const button = element("button", "sort", column.label);
      button.type = "button";
      button.addEventListener("click", () => this.#sortBy(column));
      head.append(button);
    } else {
      head.append(column.hidden ? element("span", "hidden", column.label) : column.label);
    }
    this.#heads.push([head, column]);
    return head;
  }

  #fillSelect() {
    for (const column of this.#columns.filter((one) => one.by)) {
      const option = element("option", "", column.label);
      option.value = column.label;
      this.#select.append(option);
    }
    this.#select.addEventListener("change", () => {
      const column = this.#columns.find((one) => one.label === this.#select.value);
      this.#sortTo(column, column.first === "descending");
    });
  }

  #sortBy(column) {
    const again = this.#sort.label === column.label;
    this.#sortTo(column, again ? !this.#sort.descending : column.first === "descending");
  }

  #sortTo(column, descending) {
    this.#clear();
    this.#sort = { label: column.label, descending };
    this.#showSort();
    this.#order(this.#sorted(this.#items));
  }

  #showSort() {
    for (const [head, column] of this.#heads) {
      if (!column.by) continue;
      const sorted = column.label === this.#sort.label;
      if (sorted) head.setAttribute("aria-sort", this.#sort.descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    if (this.#select) this.#select.value = this.#sort.label;
  }

  #sorted(items) {
    const { by } = this.#columns.find((one) => one.label === this.#sort.label);
    const turn = this.#sort.descending ? -1 : 1;
    const keyed = items.map((item) => [by(item), item]);
    keyed.sort(([a], [b]) => turn * (a < b ? -1 : a > b ? 1 : 0));
    return keyed.map(([, item]) => item);
  }

  /** Shows these rows, and no others; but under a pointer those that have ended stay where they were. `asked`: somebody wants other rows. */
  update(items, asked = false) {
    this.#items = items;
    const pointed = this.#body.matches(":hover");
    const keys = new Set(items.map(this.#key));
    for (const [key, row] of this.#rows) if (!keys.has(key)) this.#retire(row);
    for (const item of items) this.#fill(item);
    if (asked || !pointed || this.#rows.size > items.length + MOST_GONE) this.#clear();
    // Nothing moves away under a pointer or a focus.
    const held = pointed || this.#body.contains(document.activeElement);
    if (held && this.#body.isConnected) this.#append();
    else this.#order(this.#sorted(items));
    this.#table.hidden = !this.#rows.size;
  }

  /** It has ended: it is still to be read, and no longer to be pressed. */
  #retire(row) {
    if (row.contains(document.activeElement)) {
      const near = row.nextElementSibling ?? row.previousElementSibling;
      const next = near?.querySelector("button:enabled, [tabindex]") ?? this.#table.closest("[tabindex]");
      next?.focus({ preventScroll: true });
    }
    this.#enable(row, false);
  }

  #enable(row, there) {
    row.classList.toggle("gone", !there);
    for (const button of row.querySelectorAll("button")) button.disabled = !there;
  }

  /** Takes those away that have ended. */
  #clear() {
    for (const [key, row] of this.#rows) {
      if (!row.classList.contains("gone")) continue;
      row.remove();
      this.#rows.delete(key);
    }
  }

  #fill(item) {
    const key = this.#key(item);
    let row = this.#rows.get(key);
    if (!row) {
      row = element("tr");
      row.setAttribute("role", "row");
      this.#columns.forEach((column, at) => row.append(cell(column, at)));
      this.#rows.set(key, row);
    }
    this.#columns.forEach((column, at) => {
      const node = row.children[at];
      if (column.cell) column.cell(node, item);
      else write(node, column.text(item));
    });
    if (row.classList.contains("gone")) this.#enable(row, true);
  }

  #append() {
    for (const row of this.#rows.values()) if (!row.isConnected) this.#body.append(row);
  }

  #order(items) {
    const focused = document.activeElement;
    let place = this.#body.firstElementChild;
    for (const item of items) {
      const row = this.#rows.get(this.#key(item));
      if (row === place) place = place.nextElementSibling;
      else this.#body.insertBefore(row, place);
    }
    // An element that is moved loses its focus.
    if (focused !== document.activeElement && this.#body.contains(focused)) focused.focus({ preventScroll: true });
  }
}

function cell(column, at) {
  const made = element(at ? "td" : "th", column.number ? "number" : (column.className ?? ""));
  made.setAttribute("role", at ? "cell" : "rowheader");
  if (!at) made.scope = "row";
  // The name of the column, where there is no head above.
  if (!column.hidden) made.dataset.label = column.label;
  return made;
}
