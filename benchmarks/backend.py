"""The backend of the benchmark: HTTP/1.1 with keep-alive on the loopback interface, in a process of its own.

`POST` takes an event and answers after the latency given in seconds as the first argument, or at once on the port for
that. `GET` returns run id, type and whether there is a parent of each event since the last `GET`. The first line on
stdout names the ports: a backend with latency, one without, one that accepts connections and never answers, and one
that refuses them. The process ends when its stdin is closed.

One thread serves all connections, so that a hundred of them at once cost the clients no processor time.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import threading
from functools import partial

LATENCY = float(sys.argv[1])

Seen = list[tuple[str, str, bool]]
seen: Seen = []


async def serve(latency: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection of one client."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
            body = await reader.readexactly(int(length.partition(b":")[2]))
            if head.startswith(b"POST"):
                take(body)
                await asyncio.sleep(latency)
                answer(writer, "201 Created", [])
            else:
                answer(writer, "200 OK", seen)
                seen.clear()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def take(body: bytes) -> None:
    """Note an event."""
    event = json.loads(body)
    seen.append((event["run"]["runId"], event["eventType"], "parent" in event["run"]["facets"]))


def answer(writer: asyncio.StreamWriter, status: str, content: Seen) -> None:
    """Send an answer, as one segment."""
    body = json.dumps(content).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)


async def main() -> None:
    """Serve until stdin is closed."""
    servers = [
        await asyncio.start_server(partial(serve, latency), "127.0.0.1", 0, backlog=1024) for latency in (LATENCY, 0.0)
    ]
    living, instant = (server.sockets[0].getsockname()[1] for server in servers)
    # The kernel completes the handshake of what listens; nobody accepts it.
    hung = socket.create_server(("127.0.0.1", 0), backlog=64)
    # Bound and not listening: refused, and no other process can get the port.
    refusing = socket.socket()
    refusing.bind(("127.0.0.1", 0))
    ports = {
        "living": living,
        "instant": instant,
        "hung": hung.getsockname()[1],
        "refusing": refusing.getsockname()[1],
    }
    print(json.dumps(ports), flush=True)
    threading.Thread(target=end_with_stdin, daemon=True).start()
    await asyncio.gather(*(server.serve_forever() for server in servers))


def end_with_stdin() -> None:
    """End the process at once when stdin is closed; nobody waits for an answer any more."""
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
