// The console of sealock's admin listener: asks every two seconds while somebody looks, and shows what it is told.

import * as api from "./api.js";
import { Hour } from "./chart.js";
import { $, element, write } from "./dom.js";
import * as views from "./views.js";
import * as words from "./words.js";

const PERIOD = 2000;
const LONGEST_PAUSE = 30_000;
const HISTORY_PERIOD = 10_000;
const KEPT_ENDS = 200;

const overview = new views.Overview();
const hour = new Hour();
const routes = views.routesTable((route) => askToDrain(route.name, views.canUndrain(route), route.removed));
const sessions = views.sessionsTable(askToClose);
const causes = views.causesTable();
const ends = views.endsTable(() => state.about);
const listeners = views.listenersTable(() => new Date(state.status.now));
const rates = { routes: new views.Rates(), sessions: new views.Rates() };

const state = {
  status: undefined,
  history: undefined,
  historyAt: -Infinity,
  sessions: [],
  filter: undefined,
  found: 0,
  sessionEnds: [],
  refusals: [],
  about: {},
  generation: undefined,
  started: undefined,
  seen: undefined,
  failures: 0,
};

// ---- Asking.

let timer;
let asking = false;
let again = false;

const paused = () => $("pause").getAttribute("aria-pressed") === "true";

/** Looks now, or as soon as the look that is under way is over. */
async function look() {
  clearTimeout(timer);
  again = asking;
  if (asking) return;
  asking = true;
  let next = PERIOD;
  try {
    await refresh();
    reached();
  } catch (error) {
    if (error instanceof api.Refused && error.status === 401) return signIn();
    next = away(error);
  } finally {
    asking = false;
  }
  if (again) return look();
  if (!paused() && document.visibilityState === "visible") timer = setTimeout(look, next);
}

async function refresh() {
  const status = await api.get("status");
  const restarted = state.started !== status.started;
  // Another process gives the ids of sessions to others.
  if (restarted && $("confirm").open) {
    decide(false);
    notice("sealock was restarted, and what was about to be confirmed meant the process before: nothing was done.", true);
  }
  const newest = (list) => (restarted ? 0 : (list[0]?.number ?? 0));
  const after = { sessions_after: newest(state.sessionEnds), refusals_after: newest(state.refusals) };
  const old = performance.now() - state.historyAt > HISTORY_PERIOD || restarted;
  const changed = state.generation !== status.generation.number || restarted;
  const [told, listed, ended, history, config] = await Promise.all([
    api.get("routes"),
    askSessions(),
    api.get("ends", after),
    old ? api.get("history") : undefined,
    changed ? api.get("config") : undefined,
  ]);
  if (restarted) {
    Object.assign(state, { sessionEnds: [], refusals: [], started: status.started });
    // Another process counts from the beginning, and so do the numbers of its sessions.
    Object.assign(rates, { routes: new views.Rates(), sessions: new views.Rates() });
  }
  state.status = status;
  state.about = ended.causes;
  state.sessionEnds = [...ended.sessions, ...state.sessionEnds].slice(0, KEPT_ENDS);
  state.refusals = [...ended.refusals, ...state.refusals].slice(0, KEPT_ENDS);
  $("figures").hidden = false;
  if (history) {
    Object.assign(state, { history, historyAt: performance.now() });
    hour.show(history);
  }
  const { rows, all } = views.routesWithRates(told.routes, rates.routes, state.history);
  overview.show(status, all);
  views.showWarnings(status, rows);
  views.showReloads(status.reloads);
  routes.update(rows);
  fillRoutes(told.routes);
  if (listed) {
    state.sessions = views.withRates(listed.sessions, rates.sessions);
    state.found = listed.found;
  }
  showSessions(listed && listed.filter !== state.filter);
  if (listed) state.filter = listed.filter;
  const found = views.causes(ended.ended, status.refusals, [...state.sessionEnds, ...state.refusals], state.about);
  causes.update(found);
  $("no-causes").hidden = found.length > 0;
  showEnds();
  listeners.update(views.listeners(status));
  write($("drain"), status.state === "draining" ? "Undrain process" : "Drain process");
  $("drain").disabled = status.state === "stopping";
  if (config) showConfig(config);
}

/** The sessions that the filter asks for; nothing where that cannot be asked. */
async function askSessions() {
  const filter = { route: $("by-route").value, client: $("by-client").value.trim(), limit: $("limit").value };
  try {
    const listed = await api.get("sessions", filter);
    write($("client-problem"), "");
    $("by-client").removeAttribute("aria-invalid");
    return { ...listed, filter: JSON.stringify(filter) };
  } catch (error) {
    if (!(error instanceof api.Refused) || error.status !== 400) throw error;
    write($("client-problem"), error.message);
    $("by-client").setAttribute("aria-invalid", "true");
    return undefined;
  }
}

function reached() {
  state.seen = new Date();
  state.failures = 0;
  document.body.dataset.state = "live";
  $("away").hidden = true;
  $("sign-in").hidden = true;
  $("nav").hidden = false;
  $("sign-out").hidden = !api.hasToken();
  write($("updated"), `as of ${words.time(state.seen)}`);
}

/** Says that there was no answer, and gives the time until the next attempt. */
function away(error) {
  const pause = Math.min(PERIOD * 2 ** state.failures, LONGEST_PAUSE);
  state.failures += 1;
  document.body.dataset.state = "away";
  const since = state.seen ? ` since ${words.moment(state.seen)}` : "";
  let what = `sealock is not reachable${since}.`;
  if (error instanceof api.Refused) what = `sealock refuses to tell: ${error.message}.`;
  else if (!(error instanceof api.Unreachable)) {
    what = `This page has a defect: ${error.message}.`;
    console.error(error);
  }
  $("away").hidden = false;
  write($("away"), `${what} The page goes on trying.`);
  return pause;
}

// ---- The token.

/** Forgets the token and all that it was good for, what is typed included: nothing of it stays in the page. */
function leave() {
  api.forget();
  for (const form of document.forms) form.reset();
  location.reload();
}

function signIn() {
  const wrong = api.hasToken();
  // It was the token, and is no longer.
  if (state.seen) return leave();
  api.forget();
  document.body.dataset.state = "locked";
  $("figures").hidden = true;
  $("nav").hidden = true;
  $("away").hidden = true;
  $("sign-out").hidden = true;
  $("sign-in").hidden = false;
  write($("token-problem"), wrong ? "This is not the token." : "");
  $("token").value = "";
  $("token").focus();
}

$("sign-in-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const secret = $("token").value.trim();
  if (!api.canBeToken(secret)) {
    write($("token-problem"), "A token has visible ASCII characters only.");
    return;
  }
  $("token").value = "";
  api.remember(secret, $("keep").checked);
  look().then(() => {
    if (document.body.dataset.state === "live") $("main").focus();
  });
});

$("sign-out").addEventListener("click", leave);

// ---- Sessions and ends.

function fillRoutes(all) {
  const select = $("by-route");
  const names = all.map(({ name }) => name);
  const there = [...select.options].slice(1).map(({ value }) => value);
  if (names.join("\n") === there.join("\n")) return;
  const chosen = select.value;
  for (const option of [...select.options].slice(1)) option.remove();
  for (const name of names) {
    const option = element("option", "", name);
    option.value = name;
    select.append(option);
  }
  select.value = names.includes(chosen) ? chosen : "";
}

/** `asked`: the filter is another. */
function showSessions(asked = false) {
  const search = $("search").value.trim();
  const shown = state.sessions.filter((one) => views.holds(one, search));
  sessions.update(shown, asked);
  const listed = state.sessions.length;
  const cut = listed < state.found ? ` of ${words.number(state.found)}, the oldest` : "";
  const told = search ? `${words.number(shown.length)} of ${words.number(listed)} listed` : words.plural(listed, "session");
  write($("found"), told + cut);
  $("no-sessions").hidden = shown.length > 0;
  write($("no-sessions"), listed ? "None of those listed holds this text." : "There is none.");
}

function showEnds(asked = false) {
  const which = $("which").value;
  const kind = (list, name) => list.map((end) => ({ ...end, kind: name, key: `${name} ${end.number}` }));
  const all = [...kind(state.sessionEnds, "session"), ...kind(state.refusals, "refused")];
  for (const end of all) end.order = Date.parse(end.time);
  const fits = (end) => which === "all" || which === end.kind || (which === "fault" && !state.about[end.cause]?.orderly);
  const shown = all.filter(fits);
  ends.update(shown, asked);
  $("no-ends").hidden = shown.length > 0;
}

$("filter").addEventListener("submit", (event) => event.preventDefault());
$("search").addEventListener("input", () => showSessions(true));
$("which").addEventListener("change", () => showEnds(true));
for (const id of ["by-route", "by-client", "limit"]) $(id).addEventListener("change", look);

// ---- The configuration.

function showConfig({ generation, name, text }) {
  state.generation = generation;
  write($("config-name"), name);
  write($("config-text"), text);
}

$("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText($("config-text").textContent);
    notice("The configuration was copied.");
  } catch {
    // Without TLS, browsers give the clipboard to pages of this machine only.
    getSelection().selectAllChildren($("config-text"));
    notice("The configuration is selected: copy it with the keyboard.");
  }
});

// ---- Changes.

/** Takes the answer to what the dialog asks. */
let decide = () => {};

/** Asks whether something is to be done; resolves to the answer. */
function confirmed(title, text, yes) {
  const dialog = $("confirm");
  write($("confirm-title"), title);
  write($("confirm-text"), text);
  write($("confirm-yes"), yes);
  dialog.showModal();
  return new Promise((resolve) => {
    decide = (answer) => {
      decide = () => {};
      if (dialog.open) dialog.close();
      // What was pressed may be gone by now, with the focus that it would get back.
      if (document.activeElement === document.body) $("main").focus();
      resolve(answer);
    };
  });
}

$("confirm-no").addEventListener("click", () => decide(false));
$("confirm-yes").addEventListener("click", () => decide(true));
$("confirm").addEventListener("close", () => {
  // It comes late: the dialog may ask something else by then.
  if (!$("confirm").open) decide(false);
});

function notice(text, bad = false) {
  $("dismiss").hidden = false;
  $("notice").dataset.tone = bad ? "bad" : "good";
  write($("notice-text"), text);
}

$("dismiss").addEventListener("click", () => {
  write($("notice-text"), "");
  $("dismiss").hidden = true;
});

/** Does something and tells how it went; `say` makes a sentence of the answer. */
async function change(path, parameters, say) {
  try {
    notice(say(await api.post(path, parameters)));
  } catch (error) {
    const answered = error instanceof api.Refused;
    notice(answered ? error.message : "There was no answer: whether it was done is not known.", true);
  }
  look();
}

async function askToClose(session) {
  const { started } = state;
  const text = `Of ${session.client}, on route ${session.route}, open for ${words.duration(session.age_seconds)}. It ends now, wherever it is: its client is told 1001.`;
  if (!(await confirmed(`Close session ${session.id}?`, text, "Close session"))) return;
  await change(`/api/v1/sessions/${session.id}/close`, { started }, () => `Session ${session.id} was told to end.`);
}

async function askToDrain(route, draining, removed = false) {
  const what = route === undefined ? "the process" : `route ${route}`;
  const title = `${draining ? "Undrain" : "Drain"} ${what}?`;
  const goes = "those that run are told 1012, one after another, each between two records.";
  let text = `New sessions are refused with 503, and ${goes}`;
  // Of the whole process: its routes are drained with it.
  const all = draining && route !== undefined && state.status.state === "draining";
  if (draining) text = `New sessions are taken again${all ? " once the whole process is undrained" : ""}. Those that were told to go will go all the same.`;
  if (removed) text = `A reload has removed this route: no session begins on it, and ${goes}`;
  if (!(await confirmed(title, text, title.slice(0, -1)))) return;
  const told = ({ draining: still, sessions }) => {
    if (!draining) return `Draining ${what}: ${words.plural(sessions, "session")} will be told.`;
    return `Sessions are taken again${still ? " once the whole process is undrained" : ""}: ${what}.`;
  };
  await change(draining ? "/-/undrain" : "/-/drain", route === undefined ? {} : { route }, told);
}

$("drain").addEventListener("click", () => askToDrain(undefined, state.status.state === "draining"));

$("reload").addEventListener("click", async () => {
  const text = "The file and all certificates are read again. If anything is wrong, all stays as it is. Sessions that run keep what they began with.";
  if (!(await confirmed("Reload the configuration?", text, "Reload"))) return;
  notice("Reloading …");
  await change("/-/reload", {}, ({ generation, waits_for_restart: waits }) => {
    const rest = waits.length ? ` After a restart: ${waits.join("; ")}.` : "";
    return `Reloaded: configuration ${words.number(generation)} is in force.${rest}`;
  });
});

// ---- When to look.

$("pause").addEventListener("click", () => {
  const pause = !paused();
  $("pause").setAttribute("aria-pressed", String(pause));
  if (pause) clearTimeout(timer);
  else if (document.body.dataset.state !== "locked") look();
});

document.addEventListener("visibilitychange", () => {
  const looked = document.visibilityState === "visible";
  if (looked && !paused() && document.body.dataset.state !== "locked") look();
});

look();
