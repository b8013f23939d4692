"""Who is given whom. The one place where the domains meet; everything is built once and passed."""

import random
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tabellion.access.edge import Edge
from tabellion.access.keyring import KeyRing
from tabellion.access.service import mode_of
from tabellion.access.trail import Trail
from tabellion.access.types import Mode
from tabellion.accounts.rules import CustomHosts
from tabellion.accounts.service import Accounts
from tabellion.accounts.types import Account
from tabellion.admin.ledger_export import LedgerExport
from tabellion.consent.links.codes import Codes
from tabellion.consent.links.confirming import Confirming
from tabellion.consent.links.service import Links
from tabellion.consent.notices.service import Notices
from tabellion.consent.notices.serving import Serving
from tabellion.consent.pages import texts
from tabellion.consent.pages.clicks import clicking
from tabellion.consent.pages.limits import PageLimits
from tabellion.consent.pages.service import Pages
from tabellion.consent.pages.site import Site
from tabellion.consent.purposes.service import Catalogue
from tabellion.consent.receipts.service import Receipts
from tabellion.consent.service import Consent
from tabellion.consent.suppressions.service import Suppressions
from tabellion.core import ids
from tabellion.core.addresses import AddressPolicy
from tabellion.core.clock import Clock
from tabellion.core.db import Database, Tx
from tabellion.core.errors import HubError
from tabellion.core.ids import WorkspaceId
from tabellion.core.log import Log
from tabellion.core.outbound import HttpPool, Limits
from tabellion.core.rotation import Rotation
from tabellion.core.simulation import SimulatorAddress
from tabellion.core.smtp import SmtpPool
from tabellion.core.telemetry import Metrics
from tabellion.core.vault import KeyFolder, Vault
from tabellion.core.wake import Bell
from tabellion.events.service import EventLog
from tabellion.identity.intake import Intake
from tabellion.identity.queue import Queue
from tabellion.identity.reviews import Reviews
from tabellion.identity.service import Identity
from tabellion.jobs.types import Kind
from tabellion.ledger.published import Checkpoints
from tabellion.ledger.reading import Reading
from tabellion.ledger.service import Ledger
from tabellion.ledger.witness.client import WitnessClient
from tabellion.ledger.witness.policy import Policy
from tabellion.ledger.witness.publishing import Publisher
from tabellion.messages.answering import Answering
from tabellion.messages.confirming import Asking
from tabellion.messages.erasing import Erasing as MessagesErasing
from tabellion.messages.gate import Gate
from tabellion.messages.jobs import Deliver, Handoff
from tabellion.messages.service import Messages, in_flight
from tabellion.messages.timers import StepTimeout
from tabellion.privacy.certificates import Certificates
from tabellion.privacy.days import Days
from tabellion.privacy.erasure import Erasure
from tabellion.privacy.evidence import Evidence
from tabellion.privacy.export import Export
from tabellion.privacy.idle import Idle
from tabellion.privacy.jobs import Execute
from tabellion.privacy.journal import Journal
from tabellion.privacy.legal_holds import LegalHolds
from tabellion.privacy.proofs import Proofs
from tabellion.privacy.regulations import Regulations, being_erased
from tabellion.privacy.replay import Replay
from tabellion.privacy.rounds import Rounds
from tabellion.privacy.service import Retention
from tabellion.providers import ALL
from tabellion.providers.base import Outbound, Provider, Result
from tabellion.providers.delivery import Carrier, deliver
from tabellion.recipients.erasing import Erasing as RecipientsErasing
from tabellion.recipients.indexing import TraitIndexes
from tabellion.recipients.service import Recipients
from tabellion.recipients.settings import SettingsBook
from tabellion.recipients.staleness import Staleness
from tabellion.webhooks.erasing import Erasing as WebhooksErasing
from tabellion.webhooks.jobs import Normalise
from tabellion.webhooks.service import Webhooks

WITNESS = Limits(connect=3.0, read=5.0, total=5.0, body=64 << 10)
"""A witness answers at once, with a line, or not at all. Short, for two hubs that start together and watch each other
listen already, and serve only once each has the other's answer.
"""


@dataclass(frozen=True)
class Surroundings:
    """What a process has before it has domains."""

    db: Database
    clock: Clock
    log: Log
    metrics: Metrics
    bell: Bell
    vault: Vault
    keys: KeyFolder
    events: EventLog
    install_id: UUID
    simulator: SimulatorAddress
    local_url: str
    """Where this hub answers on this machine; simulators call back there."""
    public_url: str | None
    """Where vendors call back; None: they are not asked to."""
    private_networks: tuple[str, ...] = ()
    blocked_values: frozenset[str] = frozenset()
    """What no identifier may be, beside the built-in list; in lower case."""
    witness_policy: Policy | None = None
    """Which witnesses must cosign a head before it is shown; None: none."""


@dataclass(frozen=True)
class Hub:
    """The domains of one process, wired."""

    around: Surroundings
    providers: Mapping[str, Provider[Any]]
    sides: "Sides"
    keyring: KeyRing
    edge: Edge
    checkpoints: Checkpoints
    ledger: Ledger
    trail: Trail
    reading: Reading
    publisher: Publisher | None
    """None without a policy: heads are shown as they are signed."""
    recipients: Recipients
    accounts: Accounts
    consent: Consent
    links: Links
    confirming: Confirming
    site: Site
    asking: Asking
    identity: Identity
    intake: Intake
    queue: Queue
    reviews: Reviews
    messages: Messages
    notices: Notices
    serving: Serving
    suppressions: Suppressions
    webhooks: Webhooks
    receipts: Receipts
    retention: Retention
    rounds: Rounds
    regulations: Regulations
    holds: LegalHolds
    proofs: Proofs
    certificates: Certificates
    replay: Replay
    export: Export
    evidence: Evidence
    ledger_export: LedgerExport
    rotation: Rotation
    indexes: TraitIndexes
    staleness: Staleness
    http: HttpPool
    smtp: SmtpPool
    to_witnesses: HttpPool
    answering: Answering
    kinds: tuple[Kind, ...]

    def ledger_trouble(self) -> list[str]:
        """What is wrong with the ledger, for the operator: it names files."""
        failure = self.checkpoints.failure
        unwritten = [f"the checkpoint cannot be written: {failure}"] if failure else []
        return unwritten + [f"{one.origin}: {one.detail}" for one in self.ledger.problems]

    async def close(self) -> None:
        """Write what is held back, and close every connection, also where one of these fails."""
        async with AsyncExitStack() as stack:
            pools = (self.smtp.close, self.http.close, self.to_witnesses.close)
            for last_first in (*pools, self._close_keyring, self.checkpoints.close):
                stack.push_async_callback(last_first)

    async def _close_keyring(self) -> None:
        with suppress(HubError):  # uses are counts: better lost than in the way of an orderly end
            await self.keyring.close()


class Sides:
    """Which workspace sides are live and which are test. That never changes, so it is kept."""

    def __init__(self) -> None:
        self._modes: dict[UUID, Mode] = {}

    async def mode_of(self, tx: Tx, workspace_id: WorkspaceId) -> Mode:
        if workspace_id not in self._modes:
            self._modes[workspace_id] = await mode_of(tx, workspace_id)
        return self._modes[workspace_id]

    def known(self, workspace_id: UUID) -> Mode | None:
        return self._modes.get(workspace_id)


def wire(around: Surroundings) -> Hub:
    """The domains over their surroundings."""
    providers = {provider.name: provider for provider in ALL}
    policy = _policy(around)
    sides = Sides()
    http, smtp = HttpPool(around.clock, policy), SmtpPool(around.clock, policy)
    keyring = KeyRing(around.db)
    checkpoints = Checkpoints(around.keys.checkpoints)
    ledger = Ledger(around.vault, checkpoints, around.install_id, around.witness_policy)
    trail = Trail(around.vault, ledger)
    around.db.provide(trail)
    reading = Reading(ledger)
    to_witnesses = HttpPool(around.clock, policy, limits=WITNESS)
    recipients = Recipients(around.vault, around.events, SettingsBook(around.blocked_values))
    hosts = CustomHosts(AddressPolicy.of(around.private_networks))
    accounts = Accounts(around.vault, ALL, around.simulator, around.clock, sides.mode_of, hosts)
    queue = Queue(around.vault, around.events)
    consent = Consent(
        around.vault, recipients, ledger, around.events, in_flight, queue.grants_refused, queue.replies_unclear
    )
    identity = recipients.above = Identity(around.vault, recipients, consent, around.events, being_erased)
    messages = Messages(around.vault, recipients, consent, accounts, around.events, around.bell)
    webhooks = Webhooks(around.vault, consent, providers, around.bell)
    links = Links(around.db, around.vault, Callbacks(around, sides).reach)
    codes, confirming = Codes(around.vault, around.events), Confirming(consent, recipients, around.events)
    said = texts.load()
    notices = Notices(around.events, consent.purposes)
    pages = Pages(consent, recipients, accounts, links, codes, confirming, notices, Catalogue(around.events))
    serving = Serving(around.vault, recipients, around.events)
    carrier = Carrier(http, smtp)

    async def send(provider: Provider[Any], outbound: Outbound, settings: Any, not_after: float) -> Result:
        return await deliver(provider, outbound, settings, carrier, not_after)

    delivering = Deliver(
        gate=Gate(messages, recipients, consent, accounts),
        messages=messages,
        consent=consent,
        accounts=accounts,
        vault=around.vault,
        clock=around.clock,
        bell=around.bell,
        providers=providers,
        send=send,
        callback_url=Callbacks(around, sides).url,
        chance=random.Random(),  # noqa: S311 - jitter, not a secret
        observe=Attempts(around).observe,
    )
    retention = Retention()
    holds = LegalHolds(recipients, around.events)
    proofs = Proofs(around.vault, ledger, around.events)
    idle = Idle(recipients, consent, messages, holds, retention)
    certificates = Certificates(around.vault.outer)
    export = Export(around.vault, recipients, identity, consent, serving, messages, webhooks)
    erasure = Erasure(
        vault=around.vault,
        journal=Journal(around.keys, around.vault.outer),
        certificates=certificates,
        install_id=around.install_id,
        recipients=RecipientsErasing(around.vault, recipients),
        consent=consent,
        identity=identity,
        queue=queue,
        messages=MessagesErasing(messages),
        webhooks=WebhooksErasing(around.vault),
        proofs=proofs,
        holds=holds,
        retention=retention,
        idle=idle,
        events=around.events,
    )
    regulations = Regulations(recipients, consent, erasure, holds, around.events, around.bell)
    rounds = Rounds(
        retention=retention,
        messages=messages,
        webhooks=webhooks,
        holds=holds,
        idle=idle,
        regulations=regulations,
        proofs=proofs,
        days=Days(messages, holds, around.log),
        events=around.events,
        log=around.log,
    )
    normalising = Normalise(messages, around.vault, around.events, providers, around.bell)
    return Hub(
        around=around,
        providers=providers,
        sides=sides,
        keyring=keyring,
        edge=Edge(around.db, keyring, around.vault, around.log, around.metrics),
        checkpoints=checkpoints,
        ledger=ledger,
        trail=trail,
        reading=reading,
        publisher=_publisher(around, ledger, checkpoints, to_witnesses),
        recipients=recipients,
        accounts=accounts,
        consent=consent,
        links=links,
        confirming=confirming,
        site=Site(
            around.db,
            links,
            pages,
            said,
            PageLimits(around.clock),
            clicking(around.db, consent, around.metrics.batch("clicks")),
        ),
        asking=Asking(messages, consent, recipients, links, codes, confirming, pages, said, around.events),
        identity=identity,
        intake=Intake(recipients, identity, queue),
        queue=queue,
        reviews=Reviews(queue, recipients, identity, consent),
        messages=messages,
        notices=notices,
        serving=serving,
        suppressions=Suppressions(recipients, consent),
        webhooks=webhooks,
        receipts=Receipts(consent, reading),
        retention=retention,
        rounds=rounds,
        regulations=regulations,
        holds=holds,
        proofs=proofs,
        certificates=certificates,
        replay=Replay(erasure),
        export=export,
        evidence=Evidence(export, reading, notices, certificates),
        ledger_export=LedgerExport(reading, checkpoints, certificates, notices),
        rotation=Rotation(around.vault, around.log, around.metrics),
        indexes=TraitIndexes(around.vault),
        staleness=Staleness(recipients),
        http=http,
        smtp=smtp,
        to_witnesses=to_witnesses,
        answering=Answering(consent, accounts, messages),
        kinds=(delivering, StepTimeout(messages), normalising, Execute(erasure, recipients)),
    )


@dataclass(frozen=True)
class Attempts:
    """The log line and the metrics of each attempt: ids and outcomes, no address and no content."""

    around: Surroundings

    def observe(self, handoff: Handoff, result: Result, seconds: float) -> None:
        attempt, outcome = handoff.attempt, type(result).__name__.lower()
        self.around.metrics.attempts.labels(attempt.provider, outcome).inc()
        self.around.metrics.attempt_seconds.labels(attempt.provider).observe(seconds)
        fields: dict[str, object] = {
            "workspace_id": attempt.workspace_id,
            "message": ids.show("msg", attempt.message_id),
            "attempt": ids.show("att", attempt.id),
            "account": ids.show("acc", attempt.account_id),
            "provider": attempt.provider,
            "channel": attempt.channel,
            "outcome": outcome,
            "ms": round(seconds * 1000, 2),
        }
        fields |= {name: said for name in ("reason", "provider_code") if (said := getattr(result, name, None))}
        self.around.log.line("attempt", fields)


@dataclass(frozen=True)
class Callbacks:
    """Where vendors report back: the public address on a live side, this machine's own on a test side."""

    around: Surroundings
    sides: Sides

    def base(self, account: Account) -> str:
        """Scheme, host and port that the vendor calls and signs."""
        live = self.sides.known(account.workspace_id) == "live"
        return (self.around.public_url if live else None) or self.around.local_url

    async def reach(self, tx: Tx, workspace_id: WorkspaceId) -> str | None:
        """Where people reach this hub, for links in mail: on a live side only under a public address."""
        live = await self.sides.mode_of(tx, workspace_id) == "live"
        return self.around.public_url or (None if live else self.around.local_url)

    def url(self, account: Account) -> str | None:
        """The callback URL for an account; None where no vendor could reach it."""
        if self.sides.known(account.workspace_id) == "live" and self.around.public_url is None:
            return None
        return f"{self.base(account)}/in/{account.provider}/{ids.show('acc', account.id)}"


def _publisher(around: Surroundings, ledger: Ledger, checkpoints: Checkpoints, http: HttpPool) -> Publisher | None:
    if around.witness_policy is None:
        return None
    client, calls = WitnessClient(http, around.clock), around.metrics.witness_calls
    return Publisher(
        around.db, ledger, checkpoints, client, around.witness_policy, around.log,
        observe=lambda outcome: calls.labels(outcome).inc(),
    )  # fmt: skip


def _policy(around: Surroundings) -> AddressPolicy:
    """What outbound calls may reach: the public world, the networks the operator opened, and our own simulators."""
    simulator = around.simulator
    host, _, port = simulator.http.removeprefix("http://").rpartition(":")
    endpoints = [(host, int(port)), (simulator.smtp_host, simulator.smtp_port)]
    return AddressPolicy.of(around.private_networks, endpoints)
