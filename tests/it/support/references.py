"""Reads and writes streams with other people's implementations: `references.py FRAMING`, lines on standard input.

`read HEX` gives the messages in a stream, `write HEX HEX ...` the stream of some messages; `-` stands for no bytes.
"""
import io
import sys

import pynetstring
import sliplib
from cobs import cobs
from pylsp_jsonrpc.streams import JsonRpcStreamReader, JsonRpcStreamWriter
import json


class Netstring:
    def read(self, stream):
        return pynetstring.decode(stream)

    def write(self, messages):
        return b"".join(pynetstring.encode(message) for message in messages)


class Slip:
    def read(self, stream):
        driver = sliplib.Driver()
        driver.receive(stream)
        messages = []
        while (message := driver.get(block=False)) not in (None, b""):
            messages.append(message)
        return messages

    def write(self, messages):
        return b"".join(sliplib.Driver().send(message) for message in messages)


class Cobs:
    def read(self, stream):
        assert stream.endswith(b"\0")
        return [cobs.decode(packet) for packet in stream[:-1].split(b"\0")]

    def write(self, messages):
        return b"".join(cobs.encode(message) + b"\0" for message in messages)


class Lsp:
    """Its messages are JSON."""

    def read(self, stream):
        messages = []
        file = io.BytesIO(stream)
        # It closes its file at the end.
        JsonRpcStreamReader(file).listen(lambda value: messages.append(json.dumps(value).encode()))
        return messages

    def write(self, messages):
        file = io.BytesIO()
        writer = JsonRpcStreamWriter(file)
        for message in messages:
            writer.write(json.loads(message))
        return file.getvalue()


def unhex(text):
    return b"" if text == "-" else bytes.fromhex(text)


def show(data):
    return data.hex() or "-"


framing = {"netstring": Netstring, "slip": Slip, "cobs": Cobs, "lsp": Lsp}[sys.argv[1]]()
for line in sys.stdin:
    verb, *words = line.split()
    if verb == "read":
        print(*(show(bytes(message)) for message in framing.read(unhex(words[0]))), flush=True)
    else:
        print(show(framing.write([unhex(word) for word in words])), flush=True)
