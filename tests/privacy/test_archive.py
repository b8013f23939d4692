"""The forms of an export, of parts that are no person's."""

import io
import json
import os
import zipfile
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import pytest

from tabellion.privacy.archive import PIECE, ExportTooLarge, document, zipped
from tabellion.privacy.exported import Page, Part

AT = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
LINE = b'{"n":1}\n'


async def paged(pages: Sequence[bytes], read: list[bytes]) -> AsyncIterator[Page]:
    for page in pages:
        read.append(page)
        yield Page(1, page)


async def parts(files: dict[str, Sequence[bytes]], read: list[bytes]) -> AsyncIterator[Part]:
    for name, pages in files.items():
        yield Part(name, AT, paged(pages, read))


async def test_a_zip_is_given_out_while_it_is_read_and_in_small_pieces() -> None:
    pages = [os.urandom(3 * PIECE) for _ in range(4)]
    read: list[bytes] = []
    pieces, ahead = [], 0
    async for piece in zipped(parts({"a.jsonl": pages[:2], "b.jsonl": pages[2:]}, read)):
        pieces.append(piece)
        ahead = max(ahead, sum(map(len, read)) - sum(map(len, pieces)))
        assert len(piece) < 2 * PIECE
    assert ahead < len(pages[0]) + PIECE, "no more than a page is held"
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as opened:
        assert opened.read("b.jsonl") == pages[2] + pages[3]


async def test_an_empty_file_is_a_member_and_an_empty_list() -> None:
    packed = b"".join([piece async for piece in zipped(parts({"a.jsonl": []}, []))])
    with zipfile.ZipFile(io.BytesIO(packed)) as opened:
        assert opened.read("a.jsonl") == b""
    assert json.loads(await document(parts({"a.jsonl": []}, []), 9)) == {"a": []}


async def test_a_document_is_refused_before_the_rest_is_read() -> None:
    read: list[bytes] = []
    files = {"a.jsonl": [LINE] * 2, "b.json": [LINE], "c.jsonl": [LINE] * 9}
    with pytest.raises(ExportTooLarge):
        await document(parts(files, read), 3 * len(LINE))
    assert len(read) == 4
    del files["c.jsonl"]
    assert json.loads(await document(parts(files, []), 3 * len(LINE))) == {"a": [{"n": 1}] * 2, "b": {"n": 1}}
