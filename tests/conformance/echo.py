#!/usr/bin/env python3
"""A backend that echoes records: a u32be length, then that many bytes.

It reads each length rather than echoing blindly, so a prefix that both directions get wrong in
the same way is found. Payloads are streamed: no record is held. The bound address goes to stdout.
Runs until it is ended by a signal.
"""

import asyncio
import struct

CHUNK = 256 * 1024


async def echo(reader, writer):
    """Echo one connection until it ends; a record cut short cuts the echo too."""
    try:
        while True:
            header = await reader.readexactly(4)
            writer.write(header)
            (left,) = struct.unpack("!I", header)
            while left:
                payload = await reader.read(min(left, CHUNK))
                if not payload:
                    writer.transport.abort()
                    return
                left -= len(payload)
                writer.write(payload)
                await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the end between two records, or a peer that has gone
    finally:
        writer.close()


async def main():
    """Serve on a free port of loopback."""
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(f"listening on tcp://127.0.0.1:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
