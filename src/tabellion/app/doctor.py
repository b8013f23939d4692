"""`tabellion doctor`: what is set, what is wrong, and what to do about it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from typing import Any

from tabellion import migrations
from tabellion.app.opening import Opened, database, installed, opened
from tabellion.core.config import VARIABLES, Config
from tabellion.core.db import Tx
from tabellion.core.errors import HubError
from tabellion.ledger.published import Checkpoints
from tabellion.ledger.service import Ledger

SKEW = timedelta(seconds=2)
OLDEST = 150_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at, and where it is not `ok`, what to do."""

    name: str
    text: str
    ok: bool = True

    @property
    def mark(self) -> str:
        return "✓" if self.ok else "✗"

    def shown(self) -> dict[str, Any]:
        return {"name": self.name, "ok": self.ok, "text": self.text}


async def examine(config: Config) -> list[Finding]:
    """Everything looked at, problems included; it does not stop at the first."""
    findings = [Finding(one.name, f"{one.value}  ({one.origin})") for one in config.shown()]
    findings += [_unread(name) for name in config.unread]
    settings = config.settings
    if not installed(settings):
        return [*findings, Finding("installation", f"nothing in {settings.data} yet; `tabellion up` makes it")]
    try:
        async with database(settings, beside=True) as (url, _):
            missing = await migrations.pending(url)
            findings.append(_migrations(missing))
            if not missing:
                async with opened(settings) as installation:
                    findings += await _installation(installation)
    except HubError as error:
        findings.append(Finding(error.code, error.detail, ok=False))
    return findings


def _unread(name: str) -> Finding:
    meant = get_close_matches(name, VARIABLES, 1)
    return Finding(name, f"is no setting; {f'did you mean {meant[0]}?' if meant else 'unset it'}", ok=False)


def _migrations(missing: Sequence[str]) -> Finding:
    if missing:
        return Finding("migrations", f"{', '.join(missing)} not applied; run `tabellion migrate`", ok=False)
    return Finding("migrations", "all applied")


async def _installation(installation: Opened) -> list[Finding]:
    looks: list[Callable[[Tx], Awaitable[list[Finding]]]] = [_version, _prepared, _keys(installation)]
    looks += [_clock, _ledger(installation)]
    return [finding for look in looks for finding in await installation.db.run(look)]


async def _version(tx: Tx) -> list[Finding]:
    number = int(await tx.value("select current_setting('server_version_num')"))
    text = await tx.value("select current_setting('server_version')")
    if number < OLDEST:
        return [Finding("database", f"PostgreSQL {text} is too old; use 15 or newer", ok=False)]
    return [Finding("database", f"PostgreSQL {text}")]


async def _prepared(tx: Tx) -> list[Finding]:
    """Prepared transactions hold every follower back for as long as they stay."""
    count = await tx.value("select count(*) from pg_prepared_xacts")
    if count:
        return [Finding("prepared", f"{count} prepared transactions hold the event log back; end them", ok=False)]
    return [Finding("prepared", "no prepared transactions")]


async def _clock(tx: Tx) -> list[Finding]:
    away = abs(await tx.value("select clock_timestamp()") - tx.now)
    if away > SKEW:
        return [Finding("clock", f"is {away} away from the database's; set the time of both machines", ok=False)]
    return [Finding("clock", f"agrees with the database within {away}")]


def _keys(installation: Opened) -> Callable[[Tx], Awaitable[list[Finding]]]:
    path = installation.keys.path

    async def look(tx: Tx) -> list[Finding]:
        if path.stat().st_mode & 0o077:
            return [Finding("keys_folder", f"{path} is open to others; chmod 700 it", ok=False)]
        return [Finding("keys_folder", f"{path}, closed to others; back it up apart from the database")]

    return look


def _ledger(installation: Opened) -> Callable[[Tx], Awaitable[list[Finding]]]:
    async def look(tx: Tx) -> list[Finding]:
        checkpoints = Checkpoints(installation.keys.checkpoints)
        ledger = Ledger(installation.vault, checkpoints, installation.install_id)
        problems = await ledger.verify_heads(tx)
        return [Finding("ledger", str(one), ok=False) for one in problems] or [Finding("ledger", "no log went back")]

    return look
