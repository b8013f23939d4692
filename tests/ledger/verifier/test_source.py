"""Files and servers that mean no good: bounded, never followed out of the log, never waited for without end."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tabellion.ledger import note
from tabellion.ledger.verifier import source
from tabellion.ledger.verifier.command import Asked, Believed, Reach
from tabellion.ledger.verifier.report import Refuted, Unusable
from tabellion.ledger.verifier.source import Folder, Web, opened, path

from .conftest import ORIGIN, NewLog


def test_paths_are_those_of_tlog_tiles() -> None:
    assert path(0, 1234067) == "tile/0/x001/x234/067"
    assert path("entries", 0, 5) == "tile/entries/000.p/5"
    assert path(2, 999) == "tile/2/999"
    assert path(0, 1000, 255) == "tile/0/x001/000.p/255"


# folders


def test_a_link_that_leads_out_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    log = tmp_path / "log"
    log.mkdir()
    (log / "checkpoint").symlink_to(tmp_path / "secret")
    with pytest.raises(Refuted, match="leads out"):
        Folder(log).read("checkpoint", 10)
    (log / "inside").write_text("y")
    (log / "other").symlink_to(log / "inside")
    assert Folder(log).read("other", 10) == b"y"


def test_what_is_no_plain_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "checkpoint")
    (tmp_path / "folder").mkdir()
    for name in ("checkpoint", "folder"):
        with pytest.raises(Refuted, match="no plain file"):
            Folder(tmp_path).read(name, 10)


def test_a_file_larger_than_it_can_be_is_refused_unread(new_log: NewLog) -> None:
    log = new_log(300).write()
    for name, code in (
        ("tile/0/000", "file_too_large"),
        ("tile/entries/000", "file_too_large"),
        ("checkpoint", "file_too_large"),
    ):
        kept = (log.folder / name).read_bytes()
        with (log.folder / name).open("r+b") as stream:
            stream.truncate(1 << 40)
        assert log.codes() == [code]
        log.put(name, kept)
    assert log.codes() == []


@pytest.mark.parametrize("size", [2**60, 2**40 + 1, 10**18])
def test_an_absurd_size_is_refused_at_once(new_log: NewLog, size: int) -> None:
    log = new_log(3).write()
    log.put("checkpoint", log.signer.sign(note.Checkpoint(ORIGIN, size, bytes(32)).text()).encode())
    assert log.codes() == ["size_absurd"]


def test_a_size_beyond_what_is_there_ends_at_the_first_bundle_that_is_not(new_log: NewLog) -> None:
    log = new_log(300).write()
    log.put("checkpoint", log.signer.sign(note.Checkpoint(ORIGIN, 2**39, bytes(32)).text()).encode())
    [found] = log.verified().findings
    assert (found.code, found.where) == ("bundle_missing", {"file": "tile/entries/001"})


@pytest.mark.parametrize(
    "said", [b"", b"\x00" * 100, b"\xff\xfe", b"a\n-1\nAAAA\n\n", b"x" * 1000, b"\n\n\xe2\x80\x94 x y\n"]
)
def test_a_checkpoint_that_is_none_is_refused(new_log: NewLog, said: bytes) -> None:
    log = new_log(3).write()
    log.put("checkpoint", said)
    assert log.codes() == ["checkpoint_form"]


def test_what_others_wrote_moves_nobodys_cursor(new_log: NewLog) -> None:
    log = new_log(3).write()
    log.put("checkpoint", b"\x1b[2J\n3\nAAAA\n\n\xe2\x80\x94 a b\n")
    assert "\x1b" not in log.verified().text()


# servers


@dataclass
class Server:
    url: str
    files: Callable[[str], tuple[int, dict[str, str], bytes]]
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    """Of the callers: one a connection."""
    keeps: bool = False
    """Connections, for another call."""
    drops: bool = False
    """The connection, unanswered, that was kept until then."""
    dripping: bool = False


@pytest.fixture
def server() -> Iterator[Server]:
    stopping = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        @property
        def protocol_version(self) -> str:  # type: ignore[override]
            return "HTTP/1.1" if serving.keeps else "HTTP/1.0"

        def do_GET(self) -> None:
            port = self.client_address[1]
            if serving.drops and port in serving.ports:
                self.close_connection = True
                return
            serving.asked.append((self.path, self.headers.get("authorization")))
            serving.ports.append(port)
            if serving.dripping:
                self.drip()
                return
            status, headers, body = serving.files(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def drip(self) -> None:
            with suppress(OSError):
                self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                while not stopping.wait(0.05):
                    self.wfile.write(b"X: y\r\n")

        def log_message(self, *args: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = Server(f"http://127.0.0.1:{listening.server_port}/ledger/x", lambda path: (404, {}, b""))
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    yield serving
    stopping.set()
    listening.shutdown()
    thread.join()
    listening.server_close()


def test_a_log_behind_a_url_is_verified_and_the_token_sent(server: Server, new_log: NewLog, tmp_path: Path) -> None:
    log = new_log(600).write()

    def files(asked: str) -> tuple[int, dict[str, str], bytes]:
        file = log.folder / asked.removeprefix("/ledger/x/")
        return (200, {}, file.read_bytes()) if file.is_file() else (404, {}, b"")

    server.files = files
    token = tmp_path / "token"
    token.write_text("tbl_live_secret\n")
    report = Asked(server.url + "/", Believed([log.key]), reach=Reach(token)).verify()
    assert (report.findings, report.facts["size"]) == ([], 600)
    assert {said for _, said in server.asked} == {"Bearer tbl_live_secret"}


def test_a_redirect_is_not_followed_and_the_token_not_given_away(server: Server) -> None:
    server.files = lambda path: (302, {"Location": "http://127.0.0.1:1/elsewhere"}, b"")
    with pytest.raises(Unusable, match="answers 302"):
        Web(server.url, "secret").read("checkpoint", 10)
    assert len(server.asked) == 1


def test_a_busy_server_is_asked_again_and_not_for_ever(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(source.time, "sleep", waited.append)
    server.files = lambda path: (429, {"Retry-After": "999999"}, b"")
    with pytest.raises(Unusable, match="answers 429"):
        Web(server.url).read("checkpoint", 10)
    assert len(server.asked) == source.TRIES
    assert max(waited) <= 10
    server.files = lambda path: (200, {}, b"fine") if len(server.asked) > 7 else (503, {}, b"")
    assert Web(server.url).read("checkpoint", 10) == b"fine"


def test_an_endless_or_packed_answer_is_refused(server: Server) -> None:
    server.files = lambda path: (200, {}, bytes(100_000))
    with pytest.raises(Refuted, match="more than the 1000 bytes"):
        Web(server.url).read("tile/0/000", 1000)
    server.files = lambda path: (200, {"Content-Encoding": "gzip"}, b"x")
    with pytest.raises(Unusable, match="packed"):
        Web(server.url).read("tile/0/000", 1000)


def test_an_answer_that_drips_is_cut_off(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter(range(0, 10_000, 20))
    monkeypatch.setattr(source.time, "monotonic", lambda: float(next(moments)))
    server.files = lambda path: (200, {}, bytes(500_000))
    with pytest.raises(Unusable, match="takes too long"):
        Web(server.url).read("tile/0/000", 1_000_000)


@pytest.mark.parametrize(
    "place",
    ["http://hub.example/ledger/x", "ftp://hub.example/", "file:///etc", "https://", "https://h/?a=b", "http://[::1"],
)
def test_only_https_or_this_machine_is_asked(place: str) -> None:
    with pytest.raises(Unusable):
        opened(place)


def test_plain_http_can_be_allowed() -> None:
    assert opened("http://hub.example/ledger/x", insecure=True).name == "http://hub.example/ledger/x"
    assert opened("http://localhost:8080/v1/ledger").name == "http://localhost:8080/v1/ledger"


def test_one_connection_serves_all_files_and_a_new_one_where_it_was_closed(server: Server, new_log: NewLog) -> None:
    log = new_log(600).write()

    def files(asked: str) -> tuple[int, dict[str, str], bytes]:
        file = log.folder / asked.removeprefix("/ledger/x/")
        content = file.read_bytes() if file.is_file() else b""
        closing = {"Connection": "close"} if len(server.asked) == 3 else {}
        return (200 if content else 404), {"Content-Length": str(len(content))} | closing, content

    server.files, server.keeps = files, True
    assert Asked(server.url, Believed([log.key])).verify().findings == []
    assert (len(server.asked), len(set(server.ports))) == (8, 2)


def test_a_connection_that_was_dropped_meanwhile_is_opened_again_and_half_an_answer_is_none(server: Server) -> None:
    server.files, server.keeps = lambda path: (200, {"Content-Length": "1"}, b"x"), True
    web = Web(server.url)
    assert web.read("checkpoint", 10) == b"x"
    server.drops = True
    assert web.read("checkpoint", 10) == b"x"
    assert len(set(server.ports)) == 2
    server.drops, server.keeps = False, False
    server.files = lambda path: (200, {"Content-Length": "9"}, b"x")
    with pytest.raises(Unusable, match="IncompleteRead"):
        web.read("checkpoint", 10)


def test_a_head_that_drips_is_cut_off(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line arrives in time, and there is always another."""
    monkeypatch.setattr(source, "PATIENCE", 0.3)
    server.dripping = True
    begun = time.monotonic()
    with pytest.raises(Unusable, match=r"takes too long|timed out"):
        Web(server.url).read("checkpoint", 10)
    assert time.monotonic() - begun < 5
