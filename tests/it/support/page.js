// A WebSocket as the tests want it: promises instead of events. Runs in every page before its own scripts.

/** Opens a WebSocket; resolves once it is open or has failed. */
globalThis.openSocket = (url, protocols = []) => new Promise((resolve) => {
  const socket = new WebSocket(url, protocols);
  socket.binaryType = "arraybuffer";
  const arrived = [];
  const waiting = [];
  const client = {
    socket,
    open: false,
    /** How it ended. */
    closed: new Promise((ended) => {
      socket.onclose = ({ code, reason, wasClean }) => {
        ended({ code, reason, wasClean });
        for (const one of waiting) one.reject(new Error(`closed with ${code} (${reason}) instead of a message`));
        resolve(client);
      };
    }),
    send: (data) => socket.send(data),
    /** The next message: a string, or a Uint8Array. */
    next: () => (arrived.length
      ? Promise.resolve(arrived.shift())
      : new Promise((took, reject) => waiting.push({ took, reject }))),
    /** Messages that came and were not asked for. */
    left: () => arrived.length,
  };
  socket.onopen = () => {
    client.open = true;
    resolve(client);
  };
  socket.onmessage = ({ data }) => {
    const message = typeof data === "string" ? data : new Uint8Array(data);
    if (waiting.length) waiting.shift().took(message);
    else arrived.push(message);
  };
});

/** True when two Uint8Arrays hold the same bytes. */
globalThis.same = (a, b) => a.length === b.length && a.every((byte, at) => byte === b[at]);

/** What went wrong on this page: errors, files that are not there, and what its policy forbids. */
globalThis.problems = [];
addEventListener("error", (event) => problems.push(event.message ?? `${event.target.src ?? event.target.href} is not there`), true);
addEventListener("unhandledrejection", ({ reason }) => problems.push(String(reason?.stack ?? reason)));
addEventListener("securitypolicyviolation", (event) => problems.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sample}`));
for (const kind of ["error", "warn"]) {
  const told = console[kind];
  console[kind] = (...words) => {
    problems.push(words.join(" "));
    told.apply(console, words);
  };
}
