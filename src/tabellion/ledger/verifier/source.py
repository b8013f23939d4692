"""Where a log is read from: a folder or the prefix of a URL, in the layout of C2SP tlog-tiles."""

import io
import ipaddress
import socket
import ssl
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead, RemoteDisconnected
from pathlib import Path
from typing import IO, Any, Final, Protocol
from urllib.parse import urlsplit

from tabellion.ledger.verifier.report import Refuted, Unusable

TILE: Final = 256
PATIENCE: Final = 30.0
"""Seconds that one file may take."""
TRIES: Final = 5
_PIECE: Final = 1 << 16
_CLOSED: Final = frozenset({401, 403})
_BUSY: Final = frozenset({429, 502, 503, 504})


class Source(Protocol):
    @property
    def name(self) -> str: ...

    def read(self, path: str, most: int) -> bytes | None:
        """The file at a path below; None where there is none.

        Raises `Refuted` for one of more than `most` bytes, `Unusable` where the source does not answer.
        """
        ...


def path(kind: str | int, index: int, width: int = TILE) -> str:
    """Where a tile of a level, or a bundle (`entries`), lies: `tile/0/x001/x234/067`, and `.p/5` if it is partial."""
    digits = [f"{index % 1000:03d}"]
    while index := index // 1000:
        digits.insert(0, f"x{index % 1000:03d}")
    return f"tile/{kind}/{'/'.join(digits)}" + ("" if width == TILE else f".p/{width}")


def tile(source: Source, kind: str | int, index: int, width: int, most: int) -> bytes | None:
    """A tile or a bundle of this width; the full one where the partial one is gone, as it may be."""
    found = source.read(path(kind, index, width), most)
    if found is None and width < TILE:
        return source.read(path(kind, index), most * TILE // width)
    return found


@dataclass(frozen=True)
class Folder:
    """Files below a folder. Links that lead out of it, and what is no plain file, are refused."""

    root: Path

    @property
    def name(self) -> str:
        return str(self.root)

    def read(self, path: str, most: int) -> bytes | None:
        with self.opened(path) as stream:
            return bounded(stream.read(most + 1), most, path) if stream else None

    @contextmanager
    def opened(self, path: str) -> Iterator[IO[bytes] | None]:
        """The file at a path below, open for reading; None where there is none."""
        place = self.root / path
        try:
            if not place.resolve().is_relative_to(self.root.resolve()):
                raise Refuted("file_outside", f"{path} is a link that leads out of the folder", file=path)
            if not stat.S_ISREG(place.stat().st_mode):
                raise Refuted("file_special", f"{path} is no plain file", file=path)
            stream = place.open("rb")
        except (FileNotFoundError, NotADirectoryError):
            yield None
            return
        except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError before Python 3.13
            raise Unusable(f"{place}: {error}") from None
        with stream:
            yield stream


@dataclass
class Web:
    """Files below a URL, over HTTPS; over HTTP only on this machine, or where it is allowed.

    One connection for all of them, as long as the server keeps it. No redirect is followed, and no proxy is asked: the
    log is where it was said to be, and a key for it is nobody else's.
    """

    prefix: str
    token: str | None = field(default=None, repr=False)
    insecure: bool = False
    _open: HTTPConnection = field(init=False, repr=False, compare=False)
    _path: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.prefix = self.prefix.rstrip("/")
        try:
            parts = urlsplit(self.prefix)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise Unusable(f"{self.prefix} is no URL") from None
        if parts.scheme not in ("https", "http") or not host or parts.query or parts.fragment or parts.username:
            raise Unusable(f"{self.prefix} is no http(s) prefix")
        if parts.scheme == "http" and not (_is_local(host) or self.insecure):
            raise Unusable("over plain http anybody on the way can change what is read; use https or --insecure-http")
        self._path = parts.path
        if parts.scheme == "http":
            self._open = HTTPConnection(host, port, timeout=PATIENCE)
        else:
            self._open = HTTPSConnection(host, port, timeout=PATIENCE, context=ssl.create_default_context())

    @property
    def name(self) -> str:
        return self.prefix

    def read(self, path: str, most: int) -> bytes | None:
        until = time.monotonic() + PATIENCE
        for attempt in range(TRIES):
            try:
                status, pause, content = self._asked(path, most, until)
            except (OSError, HTTPException, ValueError) as error:
                raise Unusable(f"{self.prefix}/{path}: {error or type(error).__name__}") from None
            if status == HTTPStatus.OK:
                return bounded(content, most, path)
            if status == HTTPStatus.NOT_FOUND:
                return None
            if status not in _BUSY or attempt == TRIES - 1:
                hint = "; it may want an API key: --token-file FILE" if status in _CLOSED else ""
                raise Unusable(f"{self.prefix}/{path} answers {status}{hint}")
            time.sleep(min(pause, max(0.0, until - time.monotonic())))
        return None

    def _asked(self, path: str, most: int, until: float) -> tuple[int, float, bytes]:
        """Status, pause and content. Over a connection that the server has closed meanwhile, once more over another."""
        kept = self._open.sock is not None
        try:
            return self._exchanged(path, most, until)
        except (ConnectionError, RemoteDisconnected):
            if not kept:
                raise
        return self._exchanged(path, most, until)

    def _exchanged(self, path: str, most: int, until: float) -> tuple[int, float, bytes]:
        whole = False
        try:
            if self._open.sock is not None:
                self._open.sock.settimeout(PATIENCE)
            self._open.response_class = _within(until)
            self._open.request("GET", f"{self._path}/{path}", headers=self._headers())
            with self._open.getresponse() as answer:
                if answer.status == HTTPStatus.OK and answer.headers.get("content-encoding", "identity") != "identity":
                    raise Unusable(f"{self.prefix}/{path} comes packed, and nothing is unpacked here")
                content = _drained(answer, most)
                whole = answer.isclosed() or answer.length == 0
                return answer.status, _seconds(answer.headers.get("retry-after")), content
        finally:
            if not whole:
                self._open.close()

    def _headers(self) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity", "User-Agent": "tabellion-verifier"}
        return headers | ({"Authorization": f"Bearer {self.token}"} if self.token else {})


def server(place: str) -> str | None:
    """Scheme, host and port of a URL; None of a folder."""
    return "://".join(urlsplit(place)[:2]).lower() if "://" in place else None


def opened(place: str, token: str | None = None, *, insecure: bool = False) -> Source:
    """The source that a command line names."""
    if "://" in place:
        return Web(place, token, insecure)
    if not Path(place).is_dir():
        raise Unusable(f"{place} is no folder; name one, or a URL")
    return Folder(Path(place))


def bounded(content: bytes, most: int, path: str) -> bytes:
    if len(content) > most:
        raise Refuted("file_too_large", f"{path} has more than the {most} bytes it can have", file=path)
    return content


class _Timed(io.RawIOBase):
    """What a socket receives until a moment: from one who may send a byte at a time, of a head or of a body."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        super().__init__()
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._until = until

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int | None:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("takes too long")
        self._sock.settimeout(left)
        return self._raw.readinto(into)

    def close(self) -> None:
        self._raw.close()
        super().close()


@dataclass(frozen=True, slots=True)
class _Timing:
    """Stands where a response expects its socket."""

    sock: socket.socket
    until: float

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Timed(self.sock, self.until))


def _within(until: float) -> Any:
    """What makes responses that have arrived by a moment, or raise `TimeoutError`."""
    return lambda sock, **said: HTTPResponse(_Timing(sock, until), **said)  # type: ignore[arg-type]


def _drained(answer: HTTPResponse, most: int) -> bytes:
    """The body, up to a byte more than is allowed. Raises `IncompleteRead` where it ends before it was said to."""
    pieces, size = [], 0
    while size <= most and (piece := answer.read1(min(_PIECE, most + 1 - size))):
        pieces.append(piece)
        size += len(piece)
    if size <= most and answer.length:
        raise IncompleteRead(b"".join(pieces), answer.length)
    return b"".join(pieces)


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _seconds(said: str | None) -> float:
    return min(10.0, float(said)) if said and said.isascii() and said.isdigit() else 1.0
