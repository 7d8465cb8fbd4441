// Talks to the routes of `sealock demo`, and shows what each message becomes on the TCP side.
// What is received is only ever put into text nodes.

import { CODES, MIB, ROUTES, meaning } from "./routes.js";

const LOG_ENTRIES = 500;
const SHOWN_TEXT = 2000; // characters of a message in the log
const SHOWN_DUMP = 256; // bytes of a message in the log; of a longer one, four lines
const SHOWN_RECORD = 48; // bytes of the record beside the message box
const MIB_DEADLINE = 30_000;

const utf8 = new TextEncoder();
const $ = (id) => document.getElementById(id);

// ---- Words for bytes.

const number = new Intl.NumberFormat("en");
const hex = (byte) => byte.toString(16).padStart(2, "0");
const plural = (n, word) => `${number.format(n)} ${word}${n === 1 ? "" : "s"}`;

function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  return bytes < MIB ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / MIB).toFixed(1)} MiB`;
}

/** The bytes that hex digits stand for; spaces, commas, colons and 0x are welcome between them. */
function parseHex(text) {
  const digits = [];
  for (const { 0: token, index } of text.matchAll(/0x|[\s,:]+|./giu)) {
    if (/^[0-9a-f]$/i.test(token)) digits.push(token);
    else if (!/^(0x|[\s,:]+)$/i.test(token)) return { error: `“${token}” at place ${index + 1} is not a hex digit (0–9, a–f).` };
  }
  if (digits.length % 2) return { error: `${plural(digits.length, "hex digit")}: a byte has two, so one is missing.` };
  return { bytes: Uint8Array.from({ length: digits.length / 2 }, (_, n) => parseInt(digits[2 * n] + digits[2 * n + 1], 16)) };
}

function dump(bytes, width) {
  const rows = [];
  for (let at = 0; at < bytes.length; at += width) {
    const row = Array.from(bytes.subarray(at, at + width));
    const ascii = row.map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "·")).join("");
    rows.push(`${at.toString(16).padStart(4, "0")}  ${row.map(hex).join(" ").padEnd(3 * width)} ${ascii}`);
  }
  return rows.join("\n");
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// ---- The log. Entries are gathered and shown together, so that a flood costs one layout and not a thousand.

const log = $("log");
let waiting = [];
let totals = { in: 0, inBytes: 0, out: 0, outBytes: 0 };

function enter(entry) {
  if (!waiting.length) setTimeout(showEntries, 16);
  if (waiting.push(entry) > LOG_ENTRIES) waiting.shift();
}

function note(text, tone = "") {
  const entry = element("div", `entry ${tone}`);
  entry.dataset.dir = "note";
  entry.append(timestamp(), element("p", "content", text));
  enter(entry);
}

function logMessage(dir, kind, content, bytes) {
  totals[dir] += 1;
  totals[`${dir}Bytes`] += bytes;
  const entry = element("div", "entry");
  Object.assign(entry.dataset, { dir, kind, size: bytes });
  const body = element("pre", "content");
  if (kind === "text") {
    body.textContent = content.slice(0, SHOWN_TEXT);
    if (content.length > SHOWN_TEXT) body.append(element("span", "cut", `… and ${plural(content.length - SHOWN_TEXT, "more character")}`));
  } else {
    const width = dumpWidth();
    const shown = bytes <= SHOWN_DUMP ? bytes : 4 * width;
    body.textContent = dump(content.subarray(0, shown), width);
    if (bytes > shown) body.append(element("span", "cut", `… and ${plural(bytes - shown, "more byte")}`));
  }
  entry.append(
    timestamp(),
    element("span", "dir", dir === "out" ? "↑ out" : "↓ in"),
    element("span", "kind", kind),
    element("span", "size", size(bytes)),
    body,
  );
  enter(entry);
}

/** How many bytes fit on a line of a dump: it has four characters a byte and eight beside them, of 8 pixels at most. */
function dumpWidth() {
  const beside = matchMedia("(max-width: 40rem)").matches ? 28 : 332; // the other columns of an entry, or its padding
  const fits = ((log.clientWidth - beside) / 8 - 8) / 4;
  return [16, 8].find((width) => width <= fits) ?? 4;
}

function timestamp() {
  const now = new Date();
  const time = element("time", "", now.toLocaleTimeString("en-GB") + "." + String(now.getMilliseconds()).padStart(3, "0"));
  time.dateTime = now.toISOString();
  return time;
}

function showEntries() {
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 48;
  // A screen reader is not read a flood; the note that counts it comes after.
  log.ariaLive = waiting.length > 10 ? "off" : "polite";
  log.append(...waiting);
  waiting = [];
  while (log.childElementCount > LOG_ENTRIES) log.firstElementChild.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
  $("totals").textContent =
    `↑ ${number.format(totals.out)} out, ${size(totals.outBytes)} · ↓ ${number.format(totals.in)} in, ${size(totals.inBytes)}`;
}

// ---- Bursts: messages that come close together are counted, to show that sealock does not spread them out.

const burst = { count: 0, bytes: 0, first: 0, last: 0, timer: 0 };

function countBurst(bytes) {
  const now = performance.now();
  if (!burst.count) burst.first = now;
  burst.count += 1;
  burst.bytes += bytes;
  burst.last = now;
  clearTimeout(burst.timer);
  burst.timer = setTimeout(endBurst, 150);
}

function endBurst() {
  clearTimeout(burst.timer);
  if (burst.count >= 20) {
    note(`${plural(burst.count, "message")} (${size(burst.bytes)}) came within ${(burst.last - burst.first).toFixed(1)} ms.`);
  }
  burst.count = burst.bytes = 0;
}

// ---- The connection.

let path = "/chat";
let socket = null; // the one that counts; older ones may still be closing
let whenOpen = [];
let sentBytes = 0; // on this connection, for finding the echo of a certain message
let receivedBytes = 0;
let trial = null; // the 1 MiB under way

function setState(state, text) {
  document.body.dataset.state = state;
  $("state").textContent = text;
  if (state !== "closed") {
    delete $("state").dataset.closeCode;
    delete $("state").dataset.closeReason;
    $("verdict").hidden = true;
  }
  const focused = document.activeElement;
  $("connect").disabled = state === "open" || state === "connecting";
  $("close").disabled = !$("connect").disabled;
  preview();
  // A button that can no longer be pressed must not keep the keyboard.
  if (focused?.disabled) (state === "open" || state === "connecting" ? box : $("connect")).focus();
}

function connect() {
  const address = `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}${path}`;
  const made = new WebSocket(address);
  made.binaryType = "arraybuffer";
  socket = made;
  sentBytes = receivedBytes = 0;
  let opened = false;
  const begun = performance.now();
  setState("connecting", `Connecting to ${path} …`);

  made.onopen = () => {
    if (socket !== made) return;
    opened = true;
    setState("open", `Connected to ${path}`);
    note(`Connected to ${address} in ${(performance.now() - begun).toFixed(1)} ms.`, "good");
    for (const act of whenOpen.splice(0)) act();
  };
  made.onmessage = ({ data }) => {
    if (socket !== made) return;
    const bytes = typeof data === "string" ? utf8.encode(data) : new Uint8Array(data);
    logMessage("in", typeof data === "string" ? "text" : "binary", typeof data === "string" ? data : bytes, bytes.length);
    if (trial) checkTrial(bytes);
    else countBurst(bytes.length);
    receivedBytes += bytes.length;
  };
  made.onclose = ({ code, reason, wasClean }) => {
    if (socket !== made) return;
    socket = null;
    whenOpen = [];
    if (trial) endTrial("The connection closed before the whole MiB was back.", "bad");
    showClose(code, reason, wasClean, opened);
  };
}

function showClose(code, reason, wasClean, opened) {
  const [name, what, advice] = meaning(code, opened);
  $("state").dataset.closeCode = code;
  $("state").dataset.closeReason = reason;
  setState("closed", `Closed: ${code} ${name}`);
  const well = code === 1000;
  $("verdict").hidden = false;
  $("verdict").classList.toggle("well", well);
  $("verdict-code").textContent = `${code} ${name}`;
  $("verdict-reason").textContent = `${reason ? `“${reason}”` : "no reason given"} · ${wasClean ? "clean" : "not clean"}`;
  $("verdict-meaning").textContent = what;
  $("verdict-advice").textContent = advice;
  const given = reason ? `, reason “${reason}”` : "";
  note(`Closed with ${code} (${name})${given}, wasClean ${wasClean}. ${what}`, well ? "" : "bad");
}

function close() {
  // 1000 says that all is well; the state changes once sealock has answered.
  if (!socket) return;
  $("state").textContent = "Closing …";
  socket.close(1000, "closed by the page");
}

/** Sends a string as a text message and anything else as a binary one. */
function send(data) {
  const text = typeof data === "string";
  const bytes = text ? utf8.encode(data) : data;
  endBurst(); // what comes now is another answer
  socket.send(data);
  sentBytes += bytes.length;
  logMessage("out", text ? "text" : "binary", data, bytes.length);
}

function attempt(what) {
  const data = what.text ?? (what.size ? new Uint8Array(what.size) : Uint8Array.from(what.bytes));
  const act = () => {
    for (let n = 0; n < (what.times ?? 1); n += 1) send(data);
  };
  if (socket?.readyState === WebSocket.OPEN) return act();
  whenOpen.push(act);
  if (!socket) connect();
}

// ---- 1 MiB there and back. The echo is found by its place in the stream, however it is cut into messages.

function startTrial() {
  if (trial) return;
  const data = new Uint8Array(MIB);
  for (let at = 0; at < MIB; at += 65536) crypto.getRandomValues(data.subarray(at, at + 65536));
  trial = { data, from: sentBytes, messages: 0, begun: performance.now() };
  trial.timer = setTimeout(() => endTrial(`Not all of the MiB was back within ${MIB_DEADLINE / 1000} s.`, "bad"), MIB_DEADLINE);
  send(data);
}

function checkTrial(bytes) {
  const start = receivedBytes - trial.from;
  if (start + bytes.length <= 0) return; // the echo of something sent before
  trial.messages += 1;
  for (let n = Math.max(0, -start); n < bytes.length && start + n < MIB; n += 1) {
    if (bytes[n] !== trial.data[start + n]) {
      return endTrial(`The echo differs from what was sent, first at byte ${number.format(start + n)}.`, "bad");
    }
  }
  if (start + bytes.length < MIB) return;
  const ms = performance.now() - trial.begun;
  endTrial(`1 MiB went there and back in ${ms.toFixed(1)} ms (${(1000 / ms).toFixed(0)} MiB/s each way), as ${plural(trial.messages, "message")}. The echo is identical.`, "good");
}

function endTrial(words, tone) {
  clearTimeout(trial.timer);
  trial = null;
  note(words, tone);
}

// ---- The message box.

const box = $("message");
const sent = []; // what was sent from the box, for the arrow key
let recalled = 0;

/** The message that this text would be sent as: { data, kind, bytes }, or { error }. */
function composed(text) {
  const format = $("format").value;
  if (format === "hex") {
    const { bytes, error } = parseHex(text);
    return error ? { error } : { data: bytes, kind: "binary", bytes };
  }
  const bytes = utf8.encode(text);
  return format === "text" ? { data: text, kind: "text", bytes } : { data: bytes, kind: "binary", bytes };
}

/** Shows the record that the message (or an example) would become, and which buttons make sense now. */
function preview() {
  const open = document.body.dataset.state === "open";
  const example = $("format").value === "hex" ? "68 65 6c 6c 6f" : "hello";
  const message = composed(box.value || example);
  $("send").disabled = !open || Boolean(message.error);
  $("send-mib").disabled = !open || !ROUTES[path].echo;
  $("send-mib").title = ROUTES[path].echo ? "Random bytes; the echo is timed and compared" : "On /echo and /raw, where it comes back";
  $("hint").textContent = message.error ?? "";
  box.setAttribute("aria-invalid", Boolean(message.error));

  const record = message.error ? { refused: "nothing yet" } : ROUTES[path].record(message);
  const refused = Boolean(record.refused);
  $("wire").classList.toggle("refused", refused && !message.error);
  $("bytes").replaceChildren();
  $("wire-spoken").textContent = "";
  if (refused) {
    $("wire-words").textContent = `Nothing${message.error ? " yet" : `: ${record.refused}`}.`;
    return;
  }
  const bytes = record.parts.reduce((sum, part) => sum + part.bytes.length, 0);
  $("wire-words").textContent = `${box.value ? "" : `For example “${example}”: `}${plural(bytes, "byte")}, ${record.words}`;
  let room = SHOWN_RECORD;
  const spoken = [];
  for (const part of record.parts) {
    const shown = Array.from(part.bytes.slice(0, part.framing ? part.bytes.length : room));
    room -= shown.length;
    spoken.push((part.framing ? "framing " : "message ") + (shown.map(hex).join(" ") || "empty"));
    for (const byte of shown) $("bytes").append(cell(byte, part.framing));
    const rest = part.bytes.length - shown.length;
    if (rest) $("bytes").append(element("span", "more", `… ${plural(rest, "more byte")}`));
  }
  $("wire-spoken").textContent = spoken.join(", ");
}

function cell(byte, framing) {
  const made = element("span", framing ? "byte framing" : "byte", hex(byte));
  const names = { 0x0a: "LF", 0x0d: "CR", 0x20: "SP", 0x00: "0" };
  const printable = byte > 0x20 && byte < 0x7f && !framing;
  made.append(element("small", "", printable ? String.fromCharCode(byte) : (names[byte] ?? "·")));
  return made;
}

function submit() {
  const message = composed(box.value);
  if (message.error) return;
  if (document.body.dataset.state !== "open") {
    $("hint").textContent = "Not connected. Your message waits here: press Connect first.";
    return;
  }
  send(message.data);
  sent.push(box.value);
  if (sent.length > 50) sent.shift();
  recalled = sent.length;
  box.value = "";
  preview();
}

function recall(step) {
  recalled = Math.min(Math.max(recalled + step, 0), sent.length);
  box.value = sent[recalled] ?? "";
  preview();
}

function choose(route) {
  if (socket) {
    socket.onclose = null;
    close();
    socket = null;
    whenOpen = [];
    if (trial) endTrial("Left for another route.", "");
    note(`Left ${path} with 1000.`);
  }
  path = route;
  history.replaceState(null, "", `#${route}`);
  const { toml, format, placeholder, tries } = ROUTES[route];
  $("toml").textContent = toml;
  $("format").value = format;
  box.placeholder = placeholder;
  $("tries").replaceChildren(...tries.map((what) => {
    const button = element("button", what.label === what.text ? "wire-text" : "", what.label);
    button.type = "button";
    if (what.about) button.title = what.about;
    button.onclick = () => attempt(what);
    return button;
  }));
  setState("idle", "Not connected");
}

// ---- Wiring.

$("route").onchange = ({ target }) => choose(target.value);
$("connect").onclick = connect;
$("close").onclick = close;
$("send-mib").onclick = startTrial;
$("format").onchange = preview;
$("clear").onclick = () => {
  waiting = [];
  log.replaceChildren();
  totals = { in: 0, inBytes: 0, out: 0, outBytes: 0 };
  $("totals").textContent = "";
};
box.oninput = () => {
  recalled = sent.length;
  preview();
};
box.onkeydown = (event) => {
  if (event.isComposing || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    submit();
  } else if (event.key === "ArrowUp" && (!box.value || box.value === sent[recalled])) {
    event.preventDefault();
    recall(-1);
  } else if (event.key === "ArrowDown" && box.value && box.value === sent[recalled]) {
    event.preventDefault();
    recall(1);
  }
};
$("composer").onsubmit = (event) => {
  event.preventDefault();
  submit();
};
for (const [code, [name, what, advice]] of Object.entries(CODES)) {
  $("codes").append(element("dt", "", `${code} ${name}`), element("dd", "", `${what} ${advice}`));
}
const asked = location.hash.slice(1);
const first = ROUTES[asked] ? asked : "/chat";
document.querySelector(`#route [value="${first}"]`).checked = true;
choose(first);
