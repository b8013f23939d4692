"""The floor: a bare ASGI route that decodes a body and group-commits one insert, and nothing else.

python -m benchmarks.bare DATABASE_URL PORT
"""

import asyncio
import sys
from collections.abc import Hashable, Sequence
from typing import Any

import msgspec
import uvicorn

from benchmarks.http import SendBody
from tabellion.core import ids
from tabellion.core.batching import Batcher
from tabellion.core.clock import SystemClock
from tabellion.core.db import Database, Tx, connect

DECODER = msgspec.json.Decoder(SendBody)


class App:
    def __init__(self, db: Database) -> None:
        self._db = db
        self._batcher: Batcher[bytes, bytes] = Batcher(self._commit)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        DECODER.decode(message["body"])
        answer = await self._batcher.submit("all", message["body"])
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def _commit(self, key: Hashable, bodies: list[bytes]) -> Sequence[bytes]:
        made = [ids.new() for _ in bodies]

        async def insert(tx: Tx) -> None:
            await tx.execute("insert into bare select * from unnest($1::uuid[], $2::bytea[])", made, bodies)

        await self._db.run(insert)
        return [msgspec.json.encode({"id": ids.show("msg", one), "status": "queued"}) for one in made]


async def serve(url: str, port: int) -> None:
    db = await connect(url, SystemClock())

    async def make(tx: Tx) -> None:
        await tx.execute("create table if not exists bare (id uuid primary key, body bytea not null)")

    await db.run(make)
    config = uvicorn.Config(
        App(db), port=port, loop="uvloop", http="httptools", lifespan="off", log_config=None, access_log=False
    )
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
