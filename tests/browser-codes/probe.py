#!/usr/bin/env python3
"""Which WebSocket close codes reach page code in real browsers?

A server on loopback serves a page, and the page opens one WebSocket after another. To each the
server answers with a close frame that carries one code and a reason. The page reports the
CloseEvent it was given; the server adds the code that the browser sent back. One table a browser
is printed. Exit status: 0 when every code arrived as it was sent, 1 when one did not, 2 when no
browser could be asked.

Seen in November 2026 with Chromium 156 and Firefox ESR 153: every code, 1014 among them, arrives with
its whole reason and `wasClean`, after the open event and without an error event, and is sent back
as it came. After a mere cut Firefox may give no open event.

Standard library only. Browsers are named on the command line; without a name, one of each
family is asked.
"""

import argparse
import base64
import hashlib
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# What the server does: a close code, an empty close frame, or no close frame at all. The last is
# the control: a page sees 1006 there, and a code that reads like it was not delivered.
REGISTERED = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014]
STEPS = [str(code) for code in REGISTERED + [3000, 4000, 4999]] + ["empty", "cut"]
WITHOUT_CODE = {"empty": (1005, "", True), "cut": (1006, "", False)}

DEADLINE = 60  # seconds for one browser, its start included
SOCKET_DEADLINE = 10  # seconds for one read on one socket

PAGE = """<!doctype html><meta charset="utf-8"><title>close codes</title><script type="module">
const closed = (step) => new Promise((resolve) => {
  const socket = new WebSocket(`ws://${location.host}/ws/${step}`);
  let opened = false, failed = false;
  socket.onopen = () => { opened = true; };
  socket.onerror = () => { failed = true; };
  socket.onclose = ({ code, reason, wasClean }) =>
    resolve({ step, opened, failed, code, reason, wasClean });
});
const events = [];
for (const step of STEPS) events.push(await closed(step));
await fetch("/report", { method: "POST", body: JSON.stringify({ agent: navigator.userAgent, events }) });
</script>""".replace("STEPS", json.dumps(STEPS))


def reason_of(step):
    """The reason sent beside a code: not ASCII alone, so that its encoding is seen too."""
    return f"reason of {step} · ✓"


def expected(step):
    """The (code, reason, wasClean) that page code should see."""
    return WITHOUT_CODE.get(step) or (int(step), reason_of(step), True)


def close_frame(step):
    """The bytes of the server's close frame; None for a connection that is simply cut."""
    if step == "cut":
        return None
    payload = b"" if step == "empty" else struct.pack("!H", int(step)) + reason_of(step).encode()
    return bytes([0x88, len(payload)]) + payload


def read_reply(stream):
    """The payload of the browser's close frame: its code, "empty", or "-" when none came."""
    while True:
        head = stream.read(2)
        if len(head) < 2:
            return "-"
        # Control frames only, so the length is always in the second byte; the client masks.
        length = head[1] & 0x7F
        mask = stream.read(4)
        payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(stream.read(length)))
        if head[0] & 0x0F == 0x8:
            return str(struct.unpack("!H", payload[:2])[0]) if payload else "empty"


class Probe(ThreadingHTTPServer):
    """The server with what it has learnt from one browser."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies = {}
        self.report = None
        self.reported = threading.Event()

    @property
    def url(self):
        """Where the page is."""
        return f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, request, client_address):
        """A browser that is being ended cuts its connections; anything else is worth a trace."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection: the page, its report, or a WebSocket."""

    protocol_version = "HTTP/1.1"
    timeout = SOCKET_DEADLINE

    def do_GET(self):
        if self.path == "/":
            self.answer(200, PAGE.encode())
        elif self.path.startswith("/ws/") and self.path[4:] in STEPS:
            self.web_socket(self.path[4:])
        else:
            self.answer(404, b"")

    def do_POST(self):
        self.server.report = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(200, b"")
        self.server.reported.set()

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def web_socket(self, step):
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        self.close_connection = True
        frame = close_frame(step)
        if frame is not None:
            self.wfile.write(frame)
            self.server.replies[step] = read_reply(self.rfile)

    def log_message(self, *_):
        """Requests are not worth a line."""


def chromium(binary, profile, url):
    """The command that opens `url` in a Chromium without a window."""
    # Chromium's own sandbox refuses to start as root, where containers and CI usually run.
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    return [binary, "--headless=new", "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-proxy-server", f"--user-data-dir={profile}", *sandbox, url]


def firefox(binary, profile, url):
    """The command that opens `url` in a Firefox without a window."""
    with open(os.path.join(profile, "user.js"), "w", encoding="utf-8") as preferences:
        preferences.write('user_pref("network.proxy.type", 0);\n')
    return [binary, "--headless", "--no-remote", "--profile", profile, url]


BROWSERS = {"chromium": chromium, "google-chrome": chromium, "firefox-esr": firefox, "firefox": firefox}


def ask(name):
    """Let one browser load the page; its report and the codes it sent back, or None."""
    server = Probe()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="close-codes-", ignore_cleanup_errors=True) as profile:
        # A process group of its own: a browser is many processes, and all of them must go.
        browser = subprocess.Popen(
            BROWSERS[name](shutil.which(name), profile, server.url), start_new_session=True,
            env=os.environ | {"HOME": profile}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            answered = server.reported.wait(DEADLINE)
        finally:
            os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()
            server.shutdown()
            server.server_close()
    return (server.report, server.replies) if answered else None


def table(report, replies):
    """Print what one browser saw; the steps that did not arrive as sent."""
    row = "{:<6} {:<5} {:<6} {:<9} {:<6} {:<6} {:<9} {}".format
    word = {True: "yes", False: "no"}.get
    print(report["agent"])
    print(row("sent", "code", "reason", "wasClean", "open", "error", "answered", "verdict"))
    wrong = []
    for event in report["events"]:
        step, (_, reason, _) = event["step"], expected(event["step"])
        seen = (event["code"], event["reason"], event["wasClean"])
        # A cut may overtake the open event; a close frame never may.
        delivered = seen == expected(step) and (event["opened"] or step == "cut")
        if not delivered:
            wrong.append(step)
        kept = "whole" if event["reason"] == reason and reason else "none" if not event["reason"] else "other"
        print(row(step, event["code"], kept, word(event["wasClean"]), word(event["opened"]),
                  word(event["failed"]), replies.get(step, "-"),
                  "as sent" if delivered else f"NOT as sent: {seen}"))
    print()
    return wrong


def main():
    """Ask every browser and say what was found."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("browser", nargs="*", help=f"one of {', '.join(BROWSERS)}; default: one of each family")
    # The first name of each family: where two are installed, the other is often a wrapper of it.
    installed = {BROWSERS[name]: name for name in reversed(BROWSERS) if shutil.which(name)}
    names = arguments.parse_args().browser or sorted(installed.values())
    if unknown := [name for name in names if name not in BROWSERS or not shutil.which(name)]:
        sys.exit(f"not known or not installed: {', '.join(unknown)}")
    wrong, silent = [], []
    for name in names:
        answer = ask(name)
        if answer is None:
            silent.append(name)
            print(f"{name}: no report within {DEADLINE} s\n")
        else:
            wrong += [f"{name} {step}" for step in table(*answer)]
    if silent or not names:
        print("no browser could be asked" if not names else f"no answer from {', '.join(silent)}")
        return 2
    print(f"not delivered as sent: {', '.join(wrong)}" if wrong else "every code was delivered as sent")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
