"""The HTTP side of a hub: every domain's routes in one application."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tabellion.access import audit_routes, token_routes
from tabellion.access import routes as access
from tabellion.access.grouped import Grouped
from tabellion.accounts import routes as accounts
from tabellion.admin import events as admin_events
from tabellion.admin import ledger as admin_ledger
from tabellion.admin import ledger_export_routes
from tabellion.admin import search as admin_search
from tabellion.admin import timeline as admin_timeline
from tabellion.admin import witness as admin_witness
from tabellion.app.http import create_app
from tabellion.app.wiring import Callbacks, Hub
from tabellion.app.witnesses import open_witness
from tabellion.consent import batch_routes, state_routes
from tabellion.consent import routes as consent
from tabellion.consent.brands import routes as brands
from tabellion.consent.links import routes as link_routes
from tabellion.consent.notices import routes as notices
from tabellion.consent.notices import served_routes
from tabellion.consent.notices.types import NewServed
from tabellion.consent.pages import routes as page_routes
from tabellion.consent.pages import setting_routes as page_settings
from tabellion.consent.public import PublicDecisions
from tabellion.consent.purposes import routes as purposes
from tabellion.consent.purposes.service import Catalogue
from tabellion.consent.reading import Reading
from tabellion.consent.receipts import routes as receipts
from tabellion.consent.settings import routes as consent_settings
from tabellion.consent.suppressions import routes as suppressions
from tabellion.consent.types import NewDecision
from tabellion.core.batching import Batcher
from tabellion.core.config import Settings
from tabellion.core.errors import HubError
from tabellion.identity import history_routes, merge_routes, review_routes, settings_routes
from tabellion.identity import routes as identity
from tabellion.messages import routes as messages
from tabellion.messages.service import Send
from tabellion.privacy import keeping_routes, regulation_routes
from tabellion.privacy import routes as privacy
from tabellion.webhooks import routes as webhooks


@dataclass(frozen=True)
class App:
    """The application, and the batches it has under way."""

    asgi: Any
    batches: tuple[Grouped[Any] | Batcher[Any, Any], ...]

    async def drain(self) -> None:
        """Return when every request under way has its answer."""
        for one in self.batches:
            await one.drain()


def build(hub: Hub, settings: Settings) -> App:
    """The application over a wired hub."""
    around, edge = hub.around, hub.edge
    db, metrics = around.db, around.metrics
    send: Grouped[Send] = Grouped(db, around.vault, messages.accepting(hub.messages), observe=metrics.batch("messages"))
    decide: Grouped[NewDecision] = Grouped(
        db, around.vault, consent.recording(hub.consent), observe=metrics.batch("consents")
    )
    upsert: Grouped[identity.Upsertion] = Grouped(
        db,
        around.vault,
        identity.upserting(hub.recipients, hub.identity.absorbed),
        observe=metrics.batch("recipients"),
    )
    serve: Grouped[NewServed] = Grouped(
        db, around.vault, served_routes.serving(hub.serving), observe=metrics.batch("served")
    )
    check = Batcher(consent.checking(db, hub.consent), observe=metrics.batch("checks"))
    receive = webhooks.receiving(db, hub.webhooks, observe=metrics.batch("callbacks"))
    find = webhooks.finding(db, hub.accounts)
    attach = identity.attaching(hub.recipients, hub.identity.absorbed)
    recording = batch_routes.Recording(db, around.vault, hub.consent)
    public = PublicDecisions(db, hub.recipients, hub.consent, attach, hub.site.limits.confirmations)
    routes = [
        *access.ROUTES,
        *audit_routes.routes(edge, hub.trail, hub.reading),
        *token_routes.routes(edge, around.vault),
        *accounts.routes(edge, hub.accounts),
        *admin_events.routes(edge, hub.recipients),
        *admin_ledger.routes(edge, hub.reading),
        *ledger_export_routes.routes(edge, hub.ledger_export),
        *admin_timeline.routes(edge, hub.recipients),
        *admin_search.routes(edge, admin_search.Search(hub.recipients, hub.messages)),
        *identity.routes(edge, around.vault, hub.recipients, hub.identity.absorbed, upsert, hub.consent.contact_state),
        *merge_routes.routes(edge, hub.recipients, hub.identity),
        *history_routes.routes(edge, around.vault),
        *settings_routes.routes(edge, around.vault, hub.recipients.settings),
        *review_routes.routes(edge, hub.queue, hub.reviews),
        *consent.routes(edge, hub.recipients, decide, check, public),
        *batch_routes.routes(edge, hub.recipients, recording),
        *suppressions.routes(edge, hub.recipients, hub.suppressions, decide, recording),
        *suppressions.list_routes(edge, hub.recipients, hub.suppressions),
        *state_routes.routes(edge, Reading(hub.recipients, hub.consent)),
        *notices.routes(edge, hub.notices),
        *notices.version_routes(edge, hub.notices),
        *served_routes.routes(edge, around.vault, hub.recipients, hub.notices, hub.serving, serve),
        *receipts.routes(edge, hub.receipts),
        *brands.routes(edge),
        *link_routes.routes(edge, hub.links, hub.consent, hub.recipients),
        *page_routes.routes(edge, hub.site),
        *page_settings.routes(edge),
        *consent_settings.routes(edge),
        *purposes.routes(edge, Catalogue(around.events)),
        *messages.routes(edge, db, hub.recipients, hub.messages, send),
        *privacy.routes(edge, hub.retention),
        *regulation_routes.routes(edge, hub.recipients, hub.regulations),
        *regulation_routes.export_routes(edge, hub.regulations, hub.export, hub.evidence),
        *regulation_routes.settings_routes(edge, hub.regulations, hub.certificates),
        *keeping_routes.hold_routes(edge, hub.recipients, hub.holds, hub.regulations),
        *keeping_routes.proof_routes(edge, hub.proofs),
        *webhooks.routes(edge, find, Callbacks(around, hub.sides).base, hub.providers, receive),
    ]
    if settings.witness_dir is not None:
        routes += admin_witness.routes(open_witness(settings.witness_dir, around.clock))
    asgi = create_app(edge, routes, ready=_ready(hub), public_url=settings.public_url)
    return App(asgi, (send, decide, upsert, serve, check, receive, hub.site.clicks))


def _ready(hub: Hub) -> Callable[[], Awaitable[Sequence[str]]]:
    async def ready() -> Sequence[str]:
        try:
            async with hub.around.db.transaction() as tx:
                await tx.value("select 1")
        except (HubError, OSError, TimeoutError):
            return ["the database does not answer"]
        # Anybody may ask: which file it is, is for the log and for doctor. A log that refuses entries is its own
        # workspace's trouble, and no reason to turn everybody away.
        return ["checkpoints cannot be written; run tabellion doctor"] if hub.checkpoints.failure else []

    return ready
