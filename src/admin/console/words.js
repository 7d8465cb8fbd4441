// Words for numbers and times.

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const plain = new Intl.NumberFormat("en");
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const shortClock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

export const UNKNOWN = "–";

export const number = (n) => plain.format(n);

export const plural = (n, word) => `${number(n)} ${word}${n === 1 ? "" : "s"}`;

/** A number with as many digits as are looked at. */
function digits(n) {
  if (n >= 100 || Number.isInteger(n)) return number(Math.round(n));
  return n.toFixed(n < 1 ? 2 : 1);
}

function scaled(n, units, step) {
  let at = 0;
  while (n >= step && at < units.length - 1) {
    n /= step;
    at += 1;
  }
  return `${digits(n)}${units[at]}`;
}

export const bytes = (n) => scaled(n, [" B", " KiB", " MiB", " GiB", " TiB"], 1024);

export const count = (n) => scaled(n, ["", " k", " M", " G"], 1000);

const rate = (word) => (n) => (n === undefined ? UNKNOWN : word(n));
export const bytesEach = rate((n) => `${bytes(n)}/s`);
export const countEach = rate((n) => `${count(n)}/s`);

/** A span of seconds, in its two largest units. */
export function duration(seconds) {
  if (seconds < 0.001) return "< 1 ms";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < MINUTE) return `${Math.floor(seconds)} s`;
  const [large, small] = seconds < HOUR ? [MINUTE, 1] : seconds < DAY ? [HOUR, MINUTE] : [DAY, HOUR];
  const names = { [DAY]: "d", [HOUR]: "h", [MINUTE]: "min", 1: "s" };
  const rest = Math.floor((seconds % large) / small);
  return `${Math.floor(seconds / large)} ${names[large]}${rest ? ` ${rest} ${names[small]}` : ""}`;
}

export const time = (date) => clock.format(date);

export const minute = (date) => shortClock.format(date);

/** The time of today, or the day with its time. */
export function moment(date) {
  const today = day.format(date) === day.format(new Date());
  return today ? time(date) : `${day.format(date)} ${minute(date)}`;
}

export const date = (at) => day.format(at);

/** A label such as `client_closed` in words. */
export const spaced = (label) => label.replaceAll("_", " ");
