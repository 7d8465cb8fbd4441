// Asks the admin listener.

const KEPT = "sealock-token";
const DEADLINE = 8000;

/** There was an answer, and it was no. */
export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

/** A browser that keeps nothing for pages throws already when it is asked for the place. */
const store = (() => {
  try {
    return sessionStorage;
  } catch {
    return undefined;
  }
})();

let token = store?.getItem(KEPT) ?? null;

/** Whether a token is known, and so whether it can be forgotten. */
export const hasToken = () => token !== null;

export function remember(secret, keep) {
  token = secret;
  if (keep) store?.setItem(KEPT, secret);
  else store?.removeItem(KEPT);
}

export function forget() {
  token = null;
  store?.removeItem(KEPT);
}

/** There was no answer. */
export class Unreachable extends Error {}

/** True where a header can carry it. */
export const canBeToken = (text) => /^[\x21-\x7e]+$/.test(text);

async function ask(method, path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== ""));
  const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
  const options = { method, headers, cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(DEADLINE) };
  const { status, body } = await exchange(query.size ? `${path}?${query}` : path, options);
  if (status >= 400) throw new Refused(status, body.error ?? `status ${status}`);
  return body;
}

async function exchange(url, options) {
  try {
    const answer = await fetch(url, options);
    return { status: answer.status, body: await answer.json() };
  } catch (error) {
    throw new Unreachable("no answer", { cause: error });
  }
}

export const get = (name, parameters) => ask("GET", `/api/v1/${name}`, parameters);

export const post = (path, parameters) => ask("POST", path, parameters);
