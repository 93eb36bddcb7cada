"""The server's side of a WebSocket (RFC 6455), as far as the channels of a Kubernetes exec need it."""

from __future__ import annotations

import base64
import hashlib
import struct
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_FINAL = 0x80
_BINARY, _CLOSE, _PING, _PONG = 2, 8, 9, 10
_TWO_BYTES, _EIGHT_BYTES = 126, 127


class WebSocket:
    """The connection of a request that asks for the upgrade.

    Args:
        request: the request; it is answered here.

    """

    def __init__(self, request: BaseHTTPRequestHandler) -> None:
        self._read = request.rfile.read
        self._write = request.wfile.write
        self._lock = threading.Lock()
        key = request.headers["Sec-WebSocket-Key"] + _GUID
        digest = hashlib.sha1(key.encode(), usedforsecurity=False).digest()
        request.send_response(101)
        request.send_header("Upgrade", "websocket")
        request.send_header("Connection", "Upgrade")
        request.send_header("Sec-WebSocket-Accept", base64.b64encode(digest).decode())
        request.send_header("Sec-WebSocket-Protocol", request.headers["Sec-WebSocket-Protocol"])
        request.end_headers()
        request.close_connection = True

    def send(self, message: bytes) -> None:
        """Send a message."""
        self._send(_BINARY, message)

    def close(self) -> None:
        """Say that no more follows."""
        self._send(_CLOSE, struct.pack("!H", 1000))

    def received(self) -> Iterator[bytes]:
        """Give each message, until the other side closes the connection."""
        while head := self._read(2):
            kind, length = head[0] & 0x0F, head[1] & 0x7F
            if length == _TWO_BYTES:
                (length,) = struct.unpack("!H", self._read(2))
            elif length == _EIGHT_BYTES:
                (length,) = struct.unpack("!Q", self._read(8))
            mask = self._read(4)  # a client always masks
            text = bytes(byte ^ mask[index % 4] for index, byte in enumerate(self._read(length)))
            if kind == _CLOSE:
                return
            if kind == _PING:
                self._send(_PONG, text)
            elif kind != _PONG:
                yield text

    def _send(self, kind: int, text: bytes) -> None:
        length = len(text)
        if length < _TWO_BYTES:
            head = struct.pack("!BB", _FINAL | kind, length)
        elif length < 1 << 16:
            head = struct.pack("!BBH", _FINAL | kind, _TWO_BYTES, length)
        else:
            head = struct.pack("!BBQ", _FINAL | kind, _EIGHT_BYTES, length)
        with self._lock:
            self._write(head + text)
