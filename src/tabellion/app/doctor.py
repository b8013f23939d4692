"""`tabellion doctor`: what is set, what is wrong, and what to do about it."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum
from functools import partial
from typing import Any

from tabellion import migrations
from tabellion.access.service import list_workspaces, mode_of
from tabellion.access.trail_check import Compared
from tabellion.access.types import Mode, Workspace
from tabellion.accounts.service import Accounts
from tabellion.accounts.types import Configured
from tabellion.app import audit
from tabellion.app.domains import NOWHERE
from tabellion.app.opening import LONG, Opened, database, installed, opened
from tabellion.app.witnesses import read_policy
from tabellion.core import ids
from tabellion.core.config import VARIABLES, Config, Settings
from tabellion.core.db import Tx
from tabellion.core.epochs import GRACE, SLACK, end
from tabellion.core.errors import HubError
from tabellion.core.rotation_store import Standing, survey
from tabellion.core.vault import Vault
from tabellion.ledger.published import Checkpoints
from tabellion.ledger.service import Ledger
from tabellion.ledger.types import Problem
from tabellion.ledger.witness import store as witnessed
from tabellion.ledger.witness.folder import Folder
from tabellion.ledger.witness.policy import Policy
from tabellion.ledger.witness.publishing import behind
from tabellion.ledger.witness.types import Lag, Trouble
from tabellion.privacy.examining import journal_trouble, overdue
from tabellion.privacy.journal import Journal
from tabellion.providers import ALL

SKEW = timedelta(seconds=2)
OLDEST = 150_000
PATIENCE = timedelta(seconds=10)
"""How far a checkpoint's file may lag behind the database: writing it takes well under a second."""


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


MARKS = {Level.OK: "✓", Level.WARNING: "!", Level.WRONG: "✗"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at, and where it is not well, what to do."""

    name: str
    text: str
    level: Level = Level.OK
    data: Mapping[str, Any] = field(default_factory=dict)
    """The same for programs, where the text holds more than one thing."""

    @property
    def ok(self) -> bool:
        """A warning is no fault: it says what does not work the way it is set."""
        return self.level is not Level.WRONG

    @property
    def mark(self) -> str:
        return MARKS[self.level]

    def shown(self) -> dict[str, Any]:
        data = {"data": dict(self.data)} if self.data else {}
        return {"name": self.name, "ok": self.ok, "level": self.level, "text": self.text, **data}


async def examine(config: Config) -> list[Finding]:
    """Everything looked at, problems included; it does not stop at the first."""
    findings = [Finding(one.name, f"{one.value}  ({one.origin})") for one in config.shown()]
    findings += [_unread(name) for name in config.unread]
    findings += [_callbacks(config.settings.public_url), _links(config.settings.public_url)]
    settings = config.settings
    findings += _witness(settings)
    if not installed(settings):
        return [*findings, Finding("installation", f"nothing in {settings.data} yet; `tabellion up` makes it")]
    try:
        async with database(settings, beside=True) as (url, _):
            missing = await migrations.pending(url)
            findings.append(_migrations(missing))
            if not missing:
                async with opened(settings) as installation:
                    findings += await _installation(installation)
                    findings += await _audit(installation)
                    findings += await examine_witnesses(installation, settings)
    except HubError as error:
        findings.append(Finding(error.code, error.detail, Level.WRONG))
    return findings


def _unread(name: str) -> Finding:
    meant = get_close_matches(name, VARIABLES, 1)
    return Finding(name, f"is no setting; {f'did you mean {meant[0]}?' if meant else 'unset it'}", Level.WRONG)


def _migrations(missing: Sequence[str]) -> Finding:
    if missing:
        return Finding("migrations", f"{', '.join(missing)} not applied; run `tabellion migrate`", Level.WRONG)
    return Finding("migrations", "all applied")


async def _installation(installation: Opened) -> list[Finding]:
    looks: list[Callable[[Tx], Awaitable[list[Finding]]]] = [_version, _prepared, _keys(installation)]
    looks += [
        partial(examine_epochs, installation.vault),
        _clock,
        _ledger(installation),
        _entries(installation),
        _checkpoints(installation),
        _accounts(installation),
        _regulations(installation),
    ]
    return [finding for look in looks for finding in await installation.db.run(look, limit=LONG)]


async def _audit(installation: Opened) -> list[Finding]:
    """The newest of what was audited, held against its log."""
    compared = await audit.look(installation)
    found = [_of_trail(name, mode, one) for name, mode, one in compared if one.count]
    text = f"the newest entries of each side ({sum(one.entries for *_, one in compared)}) are what their logs say"
    return found or [Finding("audit", text)]


def _of_trail(name: str, mode: Mode, found: Compared) -> Finding:
    first = found.differences[0]
    where = f" at {first.log_index}" if first.log_index is not None else ""
    text = (
        f"{name} ({mode}): {found.count} of the newest entries differ from the log: {first.detail}{where}; run"
        f" `tabellion audit verify --workspace {name} --mode {mode}`"
    )
    return Finding("audit", text, Level.WRONG, {"workspace": name, "mode": mode, "count": found.count})


async def _version(tx: Tx) -> list[Finding]:
    number = int(await tx.value("select current_setting('server_version_num')"))
    text = await tx.value("select current_setting('server_version')")
    if number < OLDEST:
        return [Finding("database", f"PostgreSQL {text} is too old; use 15 or newer", Level.WRONG)]
    return [Finding("database", f"PostgreSQL {text}")]


async def _prepared(tx: Tx) -> list[Finding]:
    """Prepared transactions hold every follower back for as long as they stay."""
    count = await tx.value("select count(*) from pg_prepared_xacts")
    if count:
        return [Finding("prepared", f"{count} prepared transactions hold the event log back; end them", Level.WRONG)]
    return [Finding("prepared", "no prepared transactions")]


async def _clock(tx: Tx) -> list[Finding]:
    away = abs(await tx.value("select clock_timestamp()") - tx.now)
    if away > SKEW:
        return [Finding("clock", f"is {away} away from the database's; set the time of both machines", Level.WRONG)]
    return [Finding("clock", f"agrees with the database within {away}")]


def _keys(installation: Opened) -> Callable[[Tx], Awaitable[list[Finding]]]:
    path = installation.keys.path

    async def look(tx: Tx) -> list[Finding]:
        if path.stat().st_mode & 0o077:
            return [Finding("keys_folder", f"{path} is open to others; chmod 700 it", Level.WRONG)]
        return [Finding("keys_folder", f"{path}, closed to others; back it up apart from the database")]

    return look


async def examine_epochs(vault: Vault, tx: Tx) -> list[Finding]:
    """Where the keys are wrapped, what is still under epochs that are over, and when those end."""
    found = await survey(tx)
    current = [one for one in found if end(one.name) + GRACE > tx.now]
    over = [_of_epoch(vault, one, tx.now) for one in found if one not in current]
    return [_newest(current), *(one for one in over if one)]


def _newest(current: Sequence[Standing]) -> Finding:
    keys = {one.name: one.keys for one in current}
    shown = ", ".join(f"{name} ({count})" for name, count in keys.items())
    return Finding("epochs", f"keys under epochs that are not over: {shown or 'none yet'}", data={"keys": keys})


def _of_epoch(vault: Vault, one: Standing, now: datetime) -> Finding | None:
    """What there is to say of an epoch whose month is over; nothing, once it has ended as it should."""
    data = {"epoch": one.name, "keys": one.keys}
    if one.keys and (at := vault.epochs.destroyed_at(one.name)):
        text = (
            f"{one.keys} keys are under {one.name}, which was destroyed at {at:%Y-%m-%d %H:%M} UTC, and open no more:"
            f" the database is from a backup older than the window of {vault.window.days} days; restore a newer one"
        )
        return Finding("epochs", text, Level.WRONG, data)
    if one.keys and not vault.epochs.there(one.name):
        text = f"{one.keys} keys are under {one.name}, whose key is missing; restore the keys folder from its backup"
        return Finding("epochs", text, Level.WRONG, data)
    if one.emptied_at is None and one.destroyed_at is None:
        late = end(one.name) + SLACK < now
        text = f"{one.keys} keys are still under {one.name}; a process with the role followers wraps them anew"
        return Finding("epochs", text, Level.WARNING if late else Level.OK, data)
    if one.emptied_at and one.destroyed_at is None:
        return _emptied(one, one.emptied_at + vault.window, now, data)
    return None


def _emptied(one: Standing, due: datetime, now: datetime, data: Mapping[str, Any]) -> Finding:
    data = {**data, "destroyed_after": due.isoformat()}
    text = f"{one.name} is empty since {one.emptied_at:%Y-%m-%d}; its key is destroyed after {due:%Y-%m-%d %H:%M} UTC"
    if due + SLACK < now:
        text += ", which is past: run a process with the role followers"
        return Finding("epochs", text, Level.WARNING, data)
    return Finding("epochs", text, data=data)


def _ledger(installation: Opened) -> Callable[[Tx], Awaitable[list[Finding]]]:
    async def look(tx: Tx) -> list[Finding]:
        problems = await _open_ledger(installation).verify_heads(tx)
        found = [_of_log("ledger", one, Level.WRONG) for one in problems]
        return found or [Finding("ledger", "no log went back")]

    return look


def _entries(installation: Opened) -> Callable[[Tx], Awaitable[list[Finding]]]:
    async def look(tx: Tx) -> list[Finding]:
        problems, looked, full = await _open_ledger(installation).sample(tx)
        if problems:
            return [_of_log("entries", one, Level.WRONG) for one in problems]
        text = f"{looked} of {full} full bundles of 256 are what was signed; `tabellion ledger verify` compares all"
        return [Finding("entries", text, data={"bundles": full, "compared": looked})]

    return look


def _checkpoints(installation: Opened) -> Callable[[Tx], Awaitable[list[Finding]]]:
    """The files outside the database that tell a restored older copy of it."""
    folder = installation.keys.checkpoints

    async def look(tx: Tx) -> list[Finding]:
        if failure := await Checkpoints(folder).try_writing():
            text = f"cannot be written ({failure}); until they can, a fork of the log would go unnoticed"
            return [Finding("checkpoints", text, Level.WRONG, {"failure": failure})]
        late = await _open_ledger(installation).unpublished(tx, PATIENCE)
        found = [_of_log("checkpoints", one, Level.WARNING) for one in late]
        return found or [Finding("checkpoints", f"{folder} can be written, and no log is ahead of it")]

    return look


def _witness(settings: Settings) -> list[Finding]:
    """The witness that this installation is for others."""
    if settings.witness_dir is None:
        return []
    folder = Folder(settings.witness_dir)
    try:
        name, logs = folder.cosigner().name, {one.name for one in folder.trusted()}
    except HubError as error:
        return [Finding("witness", error.detail, Level.WARNING, {"code": error.code})]
    text = f"{name} watches {len(logs)} logs; `tabellion witness key` shows what others need of it"
    return [Finding("witness", text, data={"name": name, "logs": len(logs)})]


async def examine_witnesses(installation: Opened, settings: Settings) -> list[Finding]:
    """The witnesses that it asks, and how far what they cosigned is behind."""
    policy = read_policy(settings)
    if policy is None:
        return [Finding("witnesses", "no policy: every head is shown as it is signed, and nobody else has seen it")]
    names = ", ".join(one.name for one in policy.witnesses)
    found = [Finding("witnesses", f"{settings.witness_policy}: quorum {policy.quorum} of {names or 'nobody'}")]

    async def look(tx: Tx) -> list[Finding]:
        late = [_of_lag(one) for one in await behind(tx, policy)]
        found = late or [Finding("published", "no log shows less than its witnesses should have cosigned by now")]
        found += _unlisted(policy, {origin for origin, _ in await witnessed.verifier_keys(tx)})
        return [*found, *_of_troubles(policy, await witnessed.troubles(tx))]

    return [*found, *await installation.db.run(look)]


def _unlisted(policy: Policy, origins: Set[str]) -> list[Finding]:
    """The logs that a policy passes over which names logs at all."""
    missing = sorted(origins - {one.name for one in policy.logs})
    if not policy.logs or not missing:
        return []
    text = (
        f"the policy lists logs, and not these: {', '.join(missing)}; whoever verifies by it refuses them: add their"
        " `tabellion ledger keys`, or leave all logs out"
    )
    return [Finding("witnesses", text, Level.WARNING, {"unlisted": missing})]


def _of_lag(one: Lag) -> Finding:
    shown = "shows nothing yet" if one.published is None else f"shows {one.published}"
    text = (
        f"{one.origin}: stands at {one.size} and {shown}, for want of cosignatures; see the witnesses below, and that a"
        " process with the role followers runs"
    )
    return Finding("published", text, Level.WARNING, {"origin": one.origin, "size": one.size, "shown": one.published})


def _of_troubles(policy: Policy, troubles: Sequence[Trouble]) -> list[Finding]:
    """One line a witness and kind of trouble, however many logs have it."""
    names = {one.key.line(): one.name for one in policy.witnesses}
    alike: dict[tuple[str, str], list[Trouble]] = {}
    for one in troubles:
        if one.witness in names:
            alike.setdefault((names[one.witness], one.trouble), []).append(one)
    return [_of_trouble(name, trouble, some) for (name, trouble), some in alike.items()]


def _of_trouble(name: str, trouble: str, some: Sequence[Trouble]) -> Finding:
    since, origins = min(one.since for one in some), [one.origin for one in some]
    which = origins[0] if len(origins) == 1 else f"{len(origins)} logs"
    text = f"{name} {trouble} (since {since:%Y-%m-%d %H:%M} UTC, {which})"
    return Finding("witnesses", text, Level.WARNING, {"witness": name, "since": since.isoformat(), "origins": origins})


def _open_ledger(installation: Opened) -> Ledger:
    return Ledger(installation.vault, Checkpoints(installation.keys.checkpoints), installation.install_id)


def _of_log(name: str, one: Problem, level: Level) -> Finding:
    # The ledger's own sentences begin with the log they are about.
    text = f"{one.origin}: {one.detail.removeprefix(one.origin).lstrip()}"
    return Finding(name, text, level, {"origin": one.origin, "code": one.code})


def _callbacks(public_url: str | None) -> Finding:
    if public_url is None:
        text = (
            "no public URL is set: vendors of live accounts are not asked for status callbacks, so messages end at"
            " `sent`, and what a vendor signs with its URL, a STOP too, is refused; set TABELLION_PUBLIC_URL"
        )
        return Finding("callbacks", text, Level.WARNING)
    return Finding("callbacks", f"vendors report to {public_url.rstrip('/')}/in/…")


def _links(public_url: str | None) -> Finding:
    """Whether people can open what mail to them links to."""
    if public_url is None:
        text = (
            "no public URL is set: live sides send no confirmation of a double opt-in (event confirmation.unsendable)"
            " and make no unsubscribe or preference links; set TABELLION_PUBLIC_URL"
        )
        return Finding("links", text, Level.WARNING)
    if not public_url.startswith("https://"):
        text = (
            f"people's pages are at {public_url.rstrip('/')}/r/…, which is not https: mailbox providers do not call it"
        )
        return Finding("links", text, Level.WARNING)
    return Finding("links", f"people's pages are at {public_url.rstrip('/')}/r/…")


def _regulations(installation: Opened) -> Callable[[Tx], Awaitable[list[Finding]]]:
    journal = Journal(installation.keys, installation.vault.outer)

    async def look(tx: Tx) -> list[Finding]:
        trouble, late = await journal_trouble(tx, journal), await overdue(tx)
        text = f"{late} should have been carried out by now; see GET /v1/regulations" if late else "none is overdue"
        found = [Finding("regulations", text, Level.WARNING if late else Level.OK, {"overdue": late})]
        if trouble:
            return [*found, Finding("erasures", trouble, Level.WRONG)]
        return [*found, Finding("erasures", "the journal and the database agree")]

    return look


def _accounts(installation: Opened) -> Callable[[Tx], Awaitable[list[Finding]]]:
    accounts = Accounts(installation.vault, ALL, NOWHERE, installation.clock, mode_of)
    modes: tuple[Mode, ...] = ("live", "test")

    async def look(tx: Tx) -> list[Finding]:
        sides = [(workspace, mode) for workspace in await list_workspaces(tx) for mode in modes]
        surveyed = [(*side, await accounts.survey(tx, side[0].side(side[1]))) for side in sides]
        found = [_of_side(workspace, mode, there) for workspace, mode, there in surveyed if there]
        return found or [Finding("accounts", "no workspace has one yet")]

    return look


def _of_side(workspace: Workspace, mode: Mode, there: Sequence[Configured]) -> Finding:
    providers = dict(sorted(Counter(one.provider for one in there).items()))
    closed = [one for one in there if not one.readable]
    shown = [ids.show("acc", one.id) for one in closed]
    data = {"workspace": workspace.name, "mode": mode, "providers": providers, "unopened": shown}
    text = f"{workspace.name} ({mode}): {', '.join(f'{name} {count}' for name, count in providers.items())}"
    if not closed:
        return Finding("accounts", text, data=data)
    text += (
        f"; the settings of {', '.join(shown)} do not open and it is not used: give its secrets again, or disable it"
    )
    return Finding("accounts", text, Level.WRONG if any(one.enabled for one in closed) else Level.WARNING, data)
