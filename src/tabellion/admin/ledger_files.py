"""What is read of one log, under whichever prefix: checkpoint, files and keys as C2SP has them, and proofs as JSON."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Request, Response, get
from litestar.di import Provide
from litestar.enums import MediaType
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import Parameter, QueryParameter
from msgspec import Meta

from tabellion.access.edge import Edge
from tabellion.core.crypto import b64, b64url, sha256
from tabellion.core.ids import WorkspaceId
from tabellion.ledger.note import Verifier
from tabellion.ledger.paths import LogName, parse_file
from tabellion.ledger.reading import Reading
from tabellion.ledger.types import VerifierKey

MOST: Final = 2**53 - 1
FOREVER: Final = "max-age=31536000, immutable"
"""For tiles and bundles, the partial ones too: what they hold never changes."""
MOMENT: Final = "max-age=2"
"""For the checkpoint, which changes with every entry."""
UNCHANGED: Final = ResponseSpec(None, description="Not Modified: as `If-None-Match` has it", generate_examples=False)
LATER: Final = ResponseSpec(
    None, description="Conflict: `not_yet_published`, ask again after `Retry-After`", generate_examples=False
)
AnIndex = Annotated[
    int, Parameter(ge=0, le=MOST, description="Of the entry, from 0.", examples=[Example(value=0)], required=True)
]
ASize = Annotated[
    int | None, Parameter(ge=1, le=MOST, description="Of the tree, in entries. Left out: the published one.")
]
From = Annotated[
    int, QueryParameter(name="from", ge=1, le=MOST, description="The smaller size.", examples=[Example(value=1)])
]
To = Annotated[
    int | None,
    QueryParameter(name="to", ge=1, le=MOST, description="The larger size. Left out: the published one."),
]


@dataclass(frozen=True, slots=True)
class View:
    """Which log a request is about, and which caches may keep what it hears."""

    side: WorkspaceId
    log: LogName
    cache: Literal["private", "public"]


class InclusionView(msgspec.Struct, frozen=True):
    """RFC 9162, 2.1.3: that an entry is in a tree."""

    index: int
    size: int
    path: Annotated[list[str], Meta(description="Base64, from the entry's sibling up.")]


class ConsistencyView(msgspec.Struct, frozen=True, rename={"old": "from", "new": "to"}):
    """RFC 9162, 2.1.4: that one tree begins with another."""

    old: int
    new: int
    path: Annotated[list[str], Meta(description="Base64.")]


class KeyRangeView(msgspec.Struct, frozen=True):
    vkey: Annotated[str, Meta(description="A verifier key line of C2SP signed-note.")]
    from_size: Annotated[int, Meta(description="The smallest tree size it signed.")]
    to_size: Annotated[int | None, Meta(description="The largest; null for the key that signs now.")]
    created_at: datetime
    retired_at: datetime | None


class KeyRangesView(msgspec.Struct, frozen=True):
    """Keep it: a checkpoint counts only with the signature of a key whose range covers its size."""

    keys: list[KeyRangeView]


def resources(
    prefix: str, opt: dict[str, Any], view: Callable[..., Awaitable[View]], edge: Edge, reading: Reading
) -> list[HTTPRouteHandler]:
    """The routes of a log below a prefix. `view` says which log a request means, or refuses."""
    shared: dict[str, Any] = {"opt": opt, "dependencies": {"view": Provide(view)}, "tags": ["Ledger"]}

    @get(
        f"{prefix}/checkpoint", summary="Read the checkpoint", media_type=MediaType.TEXT,
        responses={304: UNCHANGED, 409: LATER},
        **shared,
    )  # fmt: skip
    async def read_checkpoint(request: Request[Any, Any, Any], view: View) -> Response[str]:
        """The signed head of the log that is shown: a C2SP `tlog-checkpoint`, which is a signed note.

        Three lines (origin, number of entries, base64 of the RFC 9162 root hash), an empty line, and the signature
        over the three. Without a witness policy every acknowledged entry is in the tree it signs; with one, as soon as
        the witnesses have cosigned it, and none (409) before they ever have. A log without entries has size 0.
        """
        shown = await edge.db.run(lambda tx: reading.open(tx, view.side, view.log))
        return _kept(request, view, shown.checkpoint, MediaType.TEXT, MOMENT)

    @get(
        f"{prefix}/tile/{{file:path}}", summary="Read a tile or a bundle of entries",
        media_type="application/octet-stream", responses={304: UNCHANGED, 409: LATER}, **shared,
    )  # fmt: skip
    async def read_file(
        request: Request[Any, Any, Any],
        view: View,
        file: Annotated[
            Path,
            Parameter(
                description="`L/N` for hashes of level L, `entries/N` for entries; N in groups of three digits"
                " (1234067 is `x001/x234/067`), and `.p/W` behind it for the first W of 256.",
                examples=[Example(value="entries/000.p/1")],
            ),
        ],
    ) -> Response[bytes]:
        """The files of C2SP `tlog-tiles`: 256 hashes of 32 bytes, or 256 entries each after its length in two bytes.

        Only what the checkpoint covers: 404 `not_yet_published` beyond it. What a file holds never changes.
        """
        wanted = parse_file(_rest(request, prefix))

        async def read() -> bytes:
            async with edge.db.transaction() as tx:
                return await reading.file(tx, await reading.open(tx, view.side, view.log), wanted)

        return _kept(request, view, await read(), "application/octet-stream", FOREVER)

    @get(f"{prefix}/proof/inclusion", summary="Prove that an entry is in a tree", responses={409: LATER}, **shared)
    async def prove_inclusion(view: View, index: AnIndex, size: ASize = None) -> InclusionView:
        """The inclusion proof of an entry in the tree of a size, as RFC 9162 has it."""
        async with edge.db.transaction() as tx:
            shown = await reading.open(tx, view.side, view.log)
            wanted = max(index + 1, shown.size) if size is None else size
            path = await reading.inclusion(tx, shown, index, wanted)
        return InclusionView(index, wanted, [*map(b64, path)])

    @get(
        f"{prefix}/proof/consistency", summary="Prove that a tree begins with another", responses={409: LATER}, **shared
    )
    async def prove_consistency(view: View, old: From, new: To = None) -> ConsistencyView:
        """The consistency proof between two sizes of the log, as RFC 9162 has it: nothing was changed in between."""
        async with edge.db.transaction() as tx:
            shown = await reading.open(tx, view.side, view.log)
            wanted = max(old, shown.size) if new is None else new
            path = await reading.consistency(tx, shown, old, wanted)
        return ConsistencyView(old, wanted, [*map(b64, path)])

    @get(f"{prefix}/key", summary="Read the keys as lines", media_type=MediaType.TEXT, **shared)
    async def read_key_lines(view: View) -> str:
        """One verifier key line (C2SP `signed-note`, Ed25519) for each key the log was ever signed with, the current
        one last. Keep them: a checkpoint or a receipt is checked against a key, not against this hub.
        """
        keys = await edge.db.run(lambda tx: reading.keys(tx, view.side, view.log.name))
        return "".join(_line(one) + "\n" for one in keys)

    @get(f"{prefix}/keys", summary="Read the keys with the sizes they signed", **shared)
    async def read_keys(view: View) -> KeyRangesView:
        """The same keys with the range of tree sizes that each signed, for a verifier to keep as its list of keys.

        A key that was replaced signs nothing above its range: a checkpoint that says otherwise is forged.
        """
        keys = await edge.db.run(lambda tx: reading.keys(tx, view.side, view.log.name))
        return KeyRangesView(
            [KeyRangeView(_line(one), one.from_size, one.to_size, one.created_at, one.retired_at) for one in keys]
        )

    return [read_checkpoint, read_file, prove_inclusion, prove_consistency, read_key_lines, read_keys]


def _line(key: VerifierKey) -> str:
    return Verifier(key.origin, key.public_key).line()


def _rest(request: Request[Any, Any, Any], prefix: str) -> str:
    """The name of the file as it stands in the address, with every slash of it."""
    segments = request.scope["path"].split("/", prefix.count("/") + 2)
    return segments[-1]


def _kept(request: Request[Any, Any, Any], view: View, body: Any, media_type: str, cache: str) -> Response[Any]:
    """The answer with what caches need, or 304 where the caller has it."""
    tag = f'"{b64url(sha256(body if isinstance(body, bytes) else body.encode())[:18])}"'
    headers = {"ETag": tag, "Cache-Control": f"{view.cache}, {cache}"}
    asked = request.headers.get("if-none-match", "")
    if asked.strip() == "*" or tag in [one.strip().removeprefix("W/") for one in asked.split(",")]:
        return Response(b"", status_code=304, headers=headers, media_type=media_type)
    return Response(body, headers=headers, media_type=media_type)
