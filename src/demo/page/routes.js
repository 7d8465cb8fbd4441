// What the page knows of sealock: its demo routes, what their framings make of a message, and what a close code means.

export const MIB = 1024 * 1024;
const LF = 0x0a;
const EVERY_BYTE = Uint8Array.from({ length: 256 }, (_, n) => n);
const utf8 = new TextEncoder();

// `record` says what the framing makes of a message: the parts of its record, or why sealock refuses it.
// `tries` are messages worth sending: `text` for a text message, `bytes` (or `size` zeros) for a binary one.

export const ROUTES = {
  "/chat": {
    format: "text",
    placeholder: "Ahoy! Or /help",
    toml: `[[route]]
name = "chat"
path = "/chat"
backend = "tcp://127.0.0.1:7000"  # your service
framing = "lines"                 # one message is one line
message = "text"`,
    record({ kind, bytes }) {
      if (kind === "binary") return { refused: "refused with 1003: this route takes text messages only" };
      if (bytes.includes(LF)) return { refused: "refused with 1007: a line feed inside would make two lines of one message" };
      return { words: "the message, then a line feed", parts: [{ bytes }, { bytes: [LF], framing: true }] };
    },
    tries: [
      { label: "/help", text: "/help" },
      { label: "/who", text: "/who" },
      { label: "/flood 100", text: "/flood 100" },
      { label: "A newline inside", text: "/me sends two lines\n/quit", about: "sealock refuses it with 1007" },
      { label: "A binary message", bytes: [0x68, 0x69], about: "sealock refuses it with 1003" },
      { label: "/break", text: "/break", about: "the backend resets in the middle of a line" },
      { label: "/quit", text: "/quit", about: "the backend ends the connection" },
    ],
  },
  "/echo": {
    format: "text",
    echo: true,
    placeholder: "Anything: it comes back",
    toml: `[[route]]
name = "echo"
path = "/echo"
backend = "tcp://127.0.0.1:7001"  # your service
framing = "u32be"                 # four bytes of length in front
message = "auto"                  # text while it is UTF-8
max_message = "16 MiB"`,
    record({ bytes }) {
      const length = new Uint8Array(4);
      new DataView(length.buffer).setUint32(0, bytes.length);
      return { words: "the length in four bytes, then the message", parts: [{ bytes: length, framing: true }, { bytes }] };
    },
    tries: [
      { label: "héllo ⚓", text: "héllo ⚓" },
      { label: "Two lines", text: "one\ntwo", about: "a length does not mind newlines" },
      { label: "An empty message", text: "" },
      { label: "Bytes 00 to ff", bytes: EVERY_BYTE },
      { label: "100 at once", text: "one of a hundred", times: 100 },
      { label: "17 MiB", size: 17 * MIB, about: "sealock refuses it with 1009" },
    ],
  },
  "/raw": {
    format: "bytes",
    echo: true,
    placeholder: "Bytes, with nothing around them",
    toml: `[[route]]
name = "raw"
path = "/raw"
backend = "tcp://127.0.0.1:7002"  # your service
framing = "raw"                   # bytes as they come
message = "binary"`,
    record({ kind, bytes }) {
      if (kind === "text") return { refused: "refused with 1003: this route takes binary messages only" };
      return { words: "the message and nothing else", parts: [{ bytes }] };
    },
    tries: [
      { label: "Bytes 00 to ff", bytes: EVERY_BYTE },
      { label: "100 at once", bytes: utf8.encode("one of a hundred; "), times: 100, about: "they may come back joined" },
      { label: "A text message", text: "hello", about: "sealock refuses it with 1003" },
    ],
  },
};

// Close codes: the name, what it means here, what to do about it.

export const CODES = {
  1000: ["normal closure", "It ended as it should: this page closed it, or the backend ended its stream between two records.",
    "Nothing is lost. Connect again when you like."],
  1001: ["going away", "sealock is shutting down, or this page is being left.", "Connect again once sealock is back."],
  1002: ["protocol error", "sealock received something that is not WebSocket. Browsers do not send that.",
    "Look for a proxy in between that changes bytes, and at sealock’s log."],
  1003: ["unsupported data", "The route does not take this type of message: it is set to text only, or to binary only.",
    "Choose the other type under “Sent as”, or set “message” of the route."],
  1005: ["no code", "The close frame had no code in it.", "If nothing is missing, nothing is wrong. Connect again when you like."],
  1006: ["no close frame", "The connection broke, and no close frame said why.",
    "See whether sealock still runs and the network is up, then connect again."],
  1007: ["invalid text", "The text cannot be carried: it has the framing’s delimiter inside, or is not valid UTF-8. sealock lets no message become two records.",
    "Take the newline out, or choose another policy or framing for the route."],
  1008: ["policy violation", "The route’s policy forbids it: a delimiter inside a binary message, for example, or an authorisation that has run out.",
    "Read the reason; sign in again, or change the message."],
  1009: ["too big", "A message or record is longer than the route’s max_message, or than the framing can count.",
    "Send it in pieces, or raise max_message."],
  1011: ["backend failed", "The backend reset the connection, ended in the middle of a record, or sent what the framing cannot read.",
    "This page has done nothing wrong. Look at the backend’s log, and whether the framing is the backend’s."],
  1012: ["restart", "sealock is restarting.", "Connect again after a short random wait."],
  1013: ["try again later", "sealock is at one of its limits.", "Wait some seconds, longer each time, then connect again."],
  1014: ["bad gateway", "sealock could not reach the backend, or lost it.", "See whether the backend runs where the route says."],
};

const NEVER_OPENED = ["no close frame", "The connection never opened. A browser does not tell a page why: the upgrade may have been refused, or sealock not be there.",
  "See whether sealock runs and has this route; its log names the reason."];

/** Name, meaning and advice for a close code; `opened` tells whether the connection had been open before. */
export function meaning(code, opened) {
  if (code === 1006 && !opened) return NEVER_OPENED;
  if (CODES[code]) return CODES[code];
  if (code >= 3000) return ["private code", "An application chose this code; sealock has no meaning for it.", "Ask who sent it."];
  return ["unknown code", "This code has no meaning in sealock.", "Read the reason, if there is one."];
}
