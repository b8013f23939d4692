"""Where a log is read from: a folder or the prefix of a URL, in the layout of C2SP tlog-tiles."""

import ipaddress
import ssl
import stat
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any, Final, Protocol
from urllib.parse import urlsplit

from tabellion.ledger.verifier.report import Refuted, Unusable

TILE: Final = 256
PATIENCE: Final = 30.0
"""Seconds that one file may take."""
TRIES: Final = 5
_PIECE: Final = 1 << 16
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
        place = self.root / path
        try:
            if not place.resolve().is_relative_to(self.root.resolve()):
                raise Refuted("file_outside", f"{path} is a link that leads out of the folder", file=path)
            if not stat.S_ISREG(place.stat().st_mode):
                raise Refuted("file_special", f"{path} is no plain file", file=path)
            with place.open("rb") as stream:
                return bounded(stream.read(most + 1), most, path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Unusable(f"{place}: {error.strerror or error}") from None


class _Stay(urllib.request.HTTPRedirectHandler):
    """The log is where it was said to be; a token for it is nobody else's."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


@dataclass
class Web:
    """Files below a URL, over HTTPS; over HTTP only on this machine, or where it is allowed."""

    prefix: str
    token: str | None = field(default=None, repr=False)
    insecure: bool = False
    opener: urllib.request.OpenerDirector = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.prefix = self.prefix.rstrip("/")
        try:
            parts = urlsplit(self.prefix)
            local = _is_local(parts.hostname or "")
        except ValueError:
            raise Unusable(f"{self.prefix} is no URL") from None
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.query or parts.fragment:
            raise Unusable(f"{self.prefix} is no http(s) prefix")
        if parts.scheme == "http" and not (local or self.insecure):
            raise Unusable("over plain http anybody on the way can change what is read; use https or --insecure-http")
        secure = urllib.request.HTTPSHandler(context=ssl.create_default_context())
        self.opener = urllib.request.build_opener(_Stay, secure)

    @property
    def name(self) -> str:
        return self.prefix

    def read(self, path: str, most: int) -> bytes | None:
        until = time.monotonic() + PATIENCE
        for attempt in range(TRIES):
            try:
                return self._read(path, most, until)
            except urllib.error.HTTPError as error:
                if error.code == 404:
                    return None
                if error.code not in _BUSY or attempt == TRIES - 1:
                    raise Unusable(f"{self.prefix}/{path} answers {error.code}") from None
                time.sleep(min(_seconds(error.headers.get("retry-after")), max(0.0, until - time.monotonic())))
            except (OSError, HTTPException) as error:
                raise Unusable(f"{self.prefix}/{path}: {error}") from None
        return None

    def _read(self, path: str, most: int, until: float) -> bytes:
        headers = {"Accept-Encoding": "identity", "User-Agent": "tabellion-verifier"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(f"{self.prefix}/{path}", headers=headers)  # noqa: S310 - checked above
        with self.opener.open(request, timeout=PATIENCE) as answer:
            if answer.headers.get("content-encoding", "identity") != "identity":
                raise Unusable(f"{self.prefix}/{path} comes packed, and nothing is unpacked here")
            return bounded(_drained(answer, most, until), most, path)


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


def _drained(answer: Any, most: int, until: float) -> bytes:
    """The body, up to a byte more than is allowed, from one who may send a byte at a time."""
    pieces, size = [], 0
    while size <= most and (piece := answer.read1(min(_PIECE, most + 1 - size))):
        pieces.append(piece)
        size += len(piece)
        if time.monotonic() > until:
            raise TimeoutError("takes too long")
    return b"".join(pieces)


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _seconds(said: str | None) -> float:
    return min(10.0, float(said)) if said and said.isascii() and said.isdigit() else 1.0
