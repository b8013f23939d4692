"""HTTP as we accept it from strangers: uvicorn's protocol, with a bound on the head of a request and its time."""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD: Final = 64 << 10
"""Bytes of request line and headers."""
HEAD_WITHIN: Final = 20.0
"""Seconds from the first byte of a request to the end of its headers."""
_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class BoundedProtocol(HttpToolsProtocol):
    """Counts what comes before the headers are whole, and ends a connection that sends too much or too slowly."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head = 0
        self._whole = False
        self._patience: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        if not self._whole:
            self._head += len(data)
            if self._patience is None:
                self._patience = self.loop.call_later(HEAD_WITHIN, self._end, _TOO_SLOW)
        super().data_received(data)
        # A large body may come in one piece with its head; only what is still no whole head is too large.
        if not self._whole and self._head > MOST_HEAD:
            self._end(_TOO_LARGE)

    def on_headers_complete(self) -> None:
        self._whole = True
        self._forget()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._whole, self._head = False, 0
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _end(self, said: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(said)
            self.transport.close()

    def _forget(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
