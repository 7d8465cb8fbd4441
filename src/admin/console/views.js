// What the page shows of each answer.

import { spark } from "./chart.js";
import { $, badge, element, lines, prose, write } from "./dom.js";
import { Table } from "./table.js";
import * as words from "./words.js";

const DAY = 86_400_000;
const STATES = { ready: "good", draining: "warn", stopping: "bad" };

/** How fast sums grow, from one look to the next. */
export class Rates {
  #before = new Map();

  /** `entries`: `[key, { name: sum }]`. Gives, by key, how much each grew a second; nothing for what is new. */
  take(entries) {
    const now = performance.now() / 1000;
    const rates = new Map();
    const next = new Map();
    for (const [key, sums] of entries) {
      const before = this.#before.get(key);
      // A second look at the same moment tells nothing.
      if (before && now - before.now < 0.2) {
        next.set(key, before);
        rates.set(key, before.rates);
        continue;
      }
      const grown = before && Object.keys(sums).map((name) => [name, Math.max(0, sums[name] - before.sums[name]) / (now - before.now)]);
      const own = grown ? Object.fromEntries(grown) : {};
      next.set(key, { now, sums, rates: own });
      rates.set(key, own);
    }
    this.#before = next;
    return rates;
  }
}

const moved = ({ messages_up, messages_down, bytes_up, bytes_down }) => ({ messages_up, messages_down, bytes_up, bytes_down });

// ---- Overview.

export class Overview {
  #tiles = new Map();

  #tile(name, first, second, { part, tone = "", pair = false } = {}) {
    let tile = this.#tiles.get(name);
    if (!tile) {
      tile = element("div", "tile", element("dt", "", name), element("dd"));
      $("tiles").append(tile);
      this.#tiles.set(name, tile);
    }
    const value = tile.lastElementChild;
    lines(value, first, second);
    value.classList.toggle("pair", pair);
    tile.dataset.tone = tone;
    if (part === undefined) return;
    if (value.children.length < 3) value.append(element("span", "bar", element("span")));
    value.lastElementChild.firstElementChild.style.width = `${Math.min(100, 100 * part).toFixed(1)}%`;
  }

  show(status, rates) {
    badge($("state"), STATES[status.state] ?? "warn", status.state);
    write($("version"), `${status.version}, pid ${status.pid}`);
    const limit = (value, most) => (most ? { part: value / most, tone: value / most > 0.8 ? "warn" : "" } : {});
    const sessions = limit(status.sessions, status.max_sessions);
    this.#tile("Sessions", words.number(status.sessions), `of ${words.number(status.max_sessions)}`, sessions);
    this.#tile("Opening", words.number(status.opening), `${words.count(status.connections)} accepted so far`);
    this.#tile("Messages", `↑ ${words.countEach(rates.messages_up)}`, `↓ ${words.countEach(rates.messages_down)}`, { pair: true });
    this.#tile("Bytes", `↑ ${words.bytesEach(rates.bytes_up)}`, `↓ ${words.bytesEach(rates.bytes_down)}`, { pair: true });
    const resident = status.resident_bytes ?? undefined;
    const memory = resident === undefined ? "on their way" : `of ${words.bytes(resident)} in use`;
    this.#tile("Buffers", words.bytes(status.buffer_bytes), memory);
    const { open_files: open, max_open_files: most } = status;
    const files = most === null ? "without limit" : `of ${words.number(most)}`;
    this.#tile("Descriptors", open === null ? words.UNKNOWN : words.number(open), files, limit(open ?? 0, most));
    const started = new Date(status.started);
    this.#tile("Uptime", words.duration((new Date(status.now) - started) / 1000), `since ${words.moment(started)}`);
    const { number, since } = status.generation;
    this.#tile("Configuration", number ? `reload ${words.number(number)}` : "as started", `since ${words.moment(new Date(since))}`);
  }
}

// ---- What needs attention.

const MOST_WARNINGS = 12;

/** `[tone, what, detail]` of everything that somebody should look at. */
function warnings(status, routes) {
  const found = [];
  const { last, waits_for_restart: waits, cannot_look: blind } = status.reloads;
  if (last?.problem) found.push(["bad", "reload failed", `The configuration in force is the one before it. See below: ${last.problem.split("\n")[0]}`]);
  if (waits.length) found.push(["warn", "restart", `${words.plural(waits.length, "setting")} of the file in force will be so after a restart: ${waits.join("; ")}`]);
  if (blind) found.push(["warn", "files do not answer", `Whether they have changed is not known: ${blind.split("\n")[0]}`]);
  for (const { address, expires } of listeners(status)) {
    const [tone, left] = expires ? life(expires, new Date(status.now)) : [];
    if (tone === "bad" || tone === "warn") found.push([tone, "certificate", `${address}: ${left}`]);
  }
  for (const { name, targets } of routes) {
    const down = targets.filter(({ condition }) => condition === "down").length;
    if (down) found.push([down === targets.length ? "bad" : "warn", "targets down", `${name}: ${words.number(down)} of ${words.number(targets.length)}`]);
  }
  if (status.accept_errors) found.push(["warn", "accept errors", `${words.number(status.accept_errors)} since the start: out of descriptors, mostly`]);
  if (status.log_lines_lost) found.push(["warn", "log lines lost", `${words.number(status.log_lines_lost)} since the start: they came faster than they could be written, or could not be: the disk is full, perhaps`]);
  const more = found.length - MOST_WARNINGS;
  if (more > 0) found.splice(MOST_WARNINGS, more, ["warn", "more", `${words.number(more)} not listed here`]);
  return found;
}

export function showWarnings(status, routes) {
  const list = $("warnings");
  const found = warnings(status, routes);
  while (list.children.length > found.length) list.lastElementChild.remove();
  found.forEach(([tone, what, detail], at) => {
    const item = list.children[at] ?? list.appendChild(element("li", "", element("span"), element("span")));
    badge(item.firstElementChild, tone, what);
    write(item.lastElementChild, detail);
  });
  list.hidden = !found.length;
}

export function showReloads({ last, waits_for_restart: waits }) {
  $("config-problem").hidden = !last?.problem;
  write($("config-problem"), last?.problem ? `The reload of ${words.moment(new Date(last.at))} (${last.cause}) failed:\n\n${last.problem}` : "");
  $("config-waits").hidden = !waits.length;
  write($("config-waits"), waits.length ? `After a restart: ${waits.join("; ")}.` : "");
}

// ---- Routes.

function targets(cell, { targets }) {
  let list = cell.firstElementChild;
  if (!list) cell.append(list = element("ul", "targets"));
  while (list.children.length > targets.length) list.lastElementChild.remove();
  targets.forEach((target, at) => {
    const item = list.children[at] ?? list.appendChild(element("li", "", element("span"), " ", element("code"), " ", element("span", "quiet"), element("span", "why")));
    const tone = { up: "good", down: "bad" }[target.condition] ?? "idle";
    badge(item.children[0], tone, target.condition);
    write(item.children[1], target.target);
    write(item.children[2], words.plural(target.sessions, "session"));
    const failure = target.condition === "up" ? null : target.last_failure;
    write(item.children[3], failure ? `${failure.error}, ${words.duration(failure.seconds_ago)} ago` : "");
  });
}

const service = (route) => {
  // A reload has taken it away; what it was drained before means nothing any more.
  if (route.removed) return ["idle", "removed"];
  return route.draining ? ["warn", "draining"] : ["good", "in service"];
};

/** One that is no more takes no sessions again; those that it has can be sent away. */
export const canUndrain = (route) => route.draining && !route.removed;

export function routesTable(ask) {
  const rate = (name, word) => (cell, row) => pair(cell, word(row.rates[`${name}_up`]), word(row.rates[`${name}_down`]));
  return new Table($("routes-table"), {
    key: (row) => row.name,
    sort: { label: "Route", descending: false },
    columns: [
      { label: "Route", by: (row) => row.name, cell: (cell, row) => lines(cell, row.name, row.removed ? "" : `${row.hosts.join(", ")}${row.path}`) },
      { label: "State", by: (row) => service(row)[1], cell: (cell, row) => state(cell, ...service(row)) },
      { label: "Targets", cell: targets },
      { label: "Sessions", number: true, first: "descending", by: (row) => row.sessions, cell: (cell, row) => lines(cell, words.number(row.sessions), row.queued ? `${words.number(row.queued)} wait` : "") },
      { label: "Messages", number: true, first: "descending", by: (row) => (row.rates.messages_up ?? 0) + (row.rates.messages_down ?? 0), cell: rate("messages", words.countEach) },
      { label: "Bytes", number: true, first: "descending", by: (row) => (row.rates.bytes_up ?? 0) + (row.rates.bytes_down ?? 0), cell: rate("bytes", words.bytesEach) },
      { label: "Last hour, bytes", className: "wide", cell: hour },
      { label: "Actions", hidden: true, className: "act", cell: (cell, row) => action(cell, canUndrain(row) ? "Undrain" : "Drain", `route ${row.name}`, () => ask(row)) },
    ],
  });
}

/** What goes up, and what goes down. */
function pair(cell, up, down) {
  cell.classList.add("pair");
  lines(cell, `↑ ${up}`, `↓ ${down}`);
}

function hour(cell, row) {
  const history = row.history;
  if (!history || history.bytes_up.length < 2) return;
  const all = history.bytes_up.map((up, at) => up + history.bytes_down[at]);
  spark(cell, all, `highest ${words.bytes(Math.max(...all))} in ten seconds, the last ${words.bytes(all.at(-1))}`);
}

function state(cell, tone, word) {
  if (!cell.firstElementChild) cell.append(element("span"));
  badge(cell.firstElementChild, tone, word);
}

/** One button in a cell, which asks about the row as it was shown last. */
function action(cell, word, what, press) {
  let button = cell.firstElementChild;
  if (!button) {
    button = element("button");
    button.type = "button";
    button.addEventListener("click", () => button.press());
    cell.append(button);
  }
  button.press = press;
  write(button, word);
  const name = `${word} ${what}`;
  if (button.getAttribute("aria-label") !== name) button.setAttribute("aria-label", name);
}

// ---- Sessions.

const flow = (session) => {
  if (session.ending) return ["idle", "ending"];
  if (session.client_blocked) return ["warn", session.backend_blocked ? "both blocked" : "client blocked"];
  return session.backend_blocked ? ["warn", "backend blocked"] : ["good", "open"];
};

const sum = (rates) => (rates.bytes_up ?? 0) + (rates.bytes_down ?? 0);

export function sessionsTable(ask) {
  const rate = (way) => (cell, row) => lines(cell, words.bytesEach(row.rates[`bytes_${way}`]), words.bytes(row.moved[`bytes_${way}`]));
  const over = (row) => (row.peer === row.client ? `#${row.id}` : `#${row.id}, over ${row.peer}`);
  return new Table($("sessions-table"), {
    key: (row) => row.id,
    sort: { label: "Age", descending: true },
    select: $("sort"),
    columns: [
      { label: "Client", by: (row) => row.client, cell: (cell, row) => lines(cell, row.client, over(row)) },
      { label: "Route", by: (row) => row.route, cell: (cell, row) => lines(cell, row.route, row.subprotocol ?? "") },
      { label: "Backend", by: (row) => row.backend ?? row.target, text: (row) => row.backend ?? row.target },
      { label: "Age", number: true, first: "descending", by: (row) => row.age_seconds, text: (row) => words.duration(row.age_seconds) },
      { label: "Up", number: true, first: "descending", by: (row) => row.rates.bytes_up ?? 0, cell: rate("up") },
      { label: "Down", number: true, first: "descending", by: (row) => row.rates.bytes_down ?? 0, cell: rate("down") },
      { label: "Buffers", number: true, first: "descending", by: (row) => row.held_bytes, text: (row) => words.bytes(row.held_bytes) },
      { label: "State", by: (row) => flow(row)[1], cell: (cell, row) => state(cell, ...flow(row)) },
      { label: "Actions", hidden: true, className: "act", cell: (cell, row) => action(cell, "Close", `session ${row.id} of ${row.client}`, () => ask(row)) },
    ],
  });
}

/** Whether a row holds all these words, somewhere. */
export function holds(row, search) {
  const text = [row.id, row.client, row.peer, row.route, row.target, row.backend, row.subprotocol, flow(row)[1]].join(" ").toLowerCase();
  return search.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

export function withRates(sessions, rates) {
  const grown = rates.take(sessions.map((one) => [one.id, moved(one.moved)]));
  return sessions.map((one) => ({ ...one, rates: grown.get(one.id) }));
}

/** The routes with their rates, and the rates of all together. */
export function routesWithRates(routes, rates, history) {
  const grown = rates.take(routes.map((one) => [one.name, moved(one.moved)]));
  const rows = routes.map((one) => ({ ...one, rates: grown.get(one.name), history: history?.routes.find(({ name }) => name === one.name) }));
  const known = rows.filter((row) => "bytes_up" in row.rates);
  const all = {};
  for (const row of known) for (const [name, rate] of Object.entries(row.rates)) all[name] = (all[name] ?? 0) + rate;
  return { rows, all };
}

// ---- Ends.

const LEVELS = { debug: "idle", info: "idle", warn: "warn", error: "bad" };
const tone = (about) => (about?.orderly ? "good" : (LEVELS[about?.level] ?? "idle"));

export const causesTable = () =>
  new Table($("causes-table"), {
    key: (row) => row.cause,
    sort: { label: "Count", descending: true },
    columns: [
      { label: "Cause", by: (row) => row.cause, cell: (cell, row) => state(cell, tone(row.about), words.spaced(row.cause)) },
      { label: "Count", number: true, first: "descending", by: (row) => row.count, text: (row) => words.number(row.count) },
      { label: "Latest", number: true, first: "descending", by: (row) => row.latest ?? "", text: (row) => (row.latest ? words.moment(new Date(row.latest)) : words.UNKNOWN) },
      { label: "What to do", className: "prose", cell: (cell, row) => prose(cell, row.about?.advice ?? "") },
    ],
  });

/** How often each cause was met, by sessions and by what did not become one, with its latest end. */
export function causes(ended, refusals, ends, about) {
  const rows = new Map();
  const add = (counts) => {
    for (const [cause, count] of Object.entries(counts)) {
      const row = rows.get(cause) ?? { cause, count: 0, about: about[cause] };
      row.count += count;
      rows.set(cause, row);
    }
  };
  add(ended);
  add(refusals);
  for (const end of ends) {
    const row = rows.get(end.cause);
    if (row && !(row.latest > end.time)) row.latest = end.time;
  }
  return [...rows.values()];
}

function told(end) {
  if (end.code) return `code ${end.code}`;
  return end.status ? `status ${end.status}` : "";
}

export const endsTable = (about) =>
  new Table($("ends-table"), {
    key: (row) => row.key,
    sort: { label: "Time", descending: true },
    columns: [
      { label: "Time", by: (row) => row.order, cell: (cell, row) => lines(cell, words.moment(new Date(row.time)), row.id ? `#${row.id}` : "refused") },
      { label: "Cause", by: (row) => row.cause, cell: (cell, row) => cause(cell, row, about()) },
      { label: "Client", by: (row) => row.client, text: (row) => row.client },
      { label: "Route", by: (row) => row.route ?? "", cell: (cell, row) => lines(cell, row.route ?? words.UNKNOWN, row.backend ?? "") },
      { label: "Lasted", number: true, first: "descending", by: (row) => row.seconds, text: (row) => words.duration(row.seconds) },
      { label: "Bytes", number: true, first: "descending", by: (row) => row.bytes_up + row.bytes_down, cell: (cell, row) => row.kind === "session" && pair(cell, words.bytes(row.bytes_up), words.bytes(row.bytes_down)) },
    ],
  });

function cause(cell, row, about) {
  if (!cell.firstElementChild) cell.append(element("span"), element("span", "second"));
  badge(cell.firstElementChild, tone(about[row.cause]), words.spaced(row.cause));
  write(cell.lastElementChild, [row.text, told(row)].filter(Boolean).join(" · "));
  cell.className = "prose";
}

// ---- Listeners.

/** How well a certificate does that ends then, and how long it will. */
function life(expires, now) {
  const left = new Date(expires) - now;
  const days = Math.floor(left / DAY);
  if (left <= 0) return ["bad", "has ended"];
  return [days < 7 ? "bad" : days < 30 ? "warn" : "good", `${words.plural(days, "day")} left`];
}

function expiry(cell, { expires }, now) {
  if (expires) state(cell, ...life(expires, now));
  else state(cell, "idle", "no certificate");
}

export const listenersTable = (now) =>
  new Table($("listeners-table"), {
    key: (row) => row.address,
    sort: { label: "Address", descending: false },
    columns: [
      { label: "Address", by: (row) => row.address, text: (row) => row.address },
      { label: "Speaks", by: (row) => row.tls, text: (row) => (row.tls ? "wss, with TLS" : "ws, in the clear") },
      { label: "Certificate ends", by: (row) => row.expires ?? "", text: (row) => (row.expires ? words.moment(new Date(row.expires)) : words.UNKNOWN) },
      { label: "Left", by: (row) => row.expires ?? "", cell: (cell, row) => expiry(cell, row, now()) },
    ],
  });

export const listeners = (status) => status.listeners.map((one) => ({ ...one, expires: one.certificate_expires }));
