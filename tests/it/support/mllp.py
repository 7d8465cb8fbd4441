# An MLLP listener of the library hl7: acknowledges each message, and sends on what it made of it.
import asyncio
import sys

from hl7.mllp import start_hl7_server


async def talk(reader, writer):
    try:
        while True:
            message = await reader.readmessage()
            writer.writemessage(message.create_ack())
            writer.writemessage(message)
            await writer.drain()
    except asyncio.IncompleteReadError:
        writer.close()


async def main(port):
    server = await start_hl7_server(talk, "127.0.0.1", port, limit=1 << 20, encoding="utf-8")
    print("listening")
    await server.serve_forever()


asyncio.run(main(int(sys.argv[1])))
