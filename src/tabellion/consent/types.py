"""Words and values of consent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Final, NamedTuple, Protocol
from uuid import UUID

import msgspec
from msgspec import Meta

from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.providers.base import Channel, Signal
from tabellion.recipients.types import Identifier, Kind, Ref

ANY: Final = "*"
"""Every channel, or every purpose outside class `security`."""
ANSWER: Final = "security.keyword"
"""The purpose of answers to STOP, START and HELP."""
MARKETING: Final = "marketing@*"
"""Every purpose of class marketing. That of one brand is `marketing@key`; every purpose of a brand, `*@key`."""
RESEARCH: Final = "research@*"
"""Every purpose of class research."""
PHONE_MESSAGING: Final = "phone_messaging"
"""The channel group that STOP restricts: sms, mms and rcs."""
OLDEST: Final = datetime(1, 1, 1, tzinfo=UTC)
"""The effective time of an imported decision that does not say when it was made."""
STATED: Final = "stated_already"
"""Why a restriction left no entry: it said nothing that the ledger had not."""


_PHONE: Final = (Kind.PHONE,)
KINDS: Final[Mapping[Channel, tuple[Kind, ...]]] = {
    Channel.EMAIL: (Kind.EMAIL,),
    Channel.SMS: _PHONE,
    Channel.MMS: _PHONE,
    Channel.RCS: _PHONE,
    Channel.VOICE: _PHONE,
    Channel.WHATSAPP: (Kind.WHATSAPP, Kind.PHONE),
    Channel.PUSH: (Kind.DEVICE,),
    Channel.WEBPUSH: (Kind.WEBPUSH,),
}
"""The kinds of identifier that reach a channel. A channel left out reaches nobody yet."""


class Decision(StrEnum):
    GRANTED = "granted"
    DENIED = "denied"
    WITHDRAWN = "withdrawn"
    OBJECTED = "objected"
    ASSERTED = "asserted"
    PENDING = "pending"
    EXPIRED = "expired"


GRANTS: Final = frozenset({Decision.GRANTED, Decision.ASSERTED})
RESTRICTIONS: Final = frozenset({Decision.DENIED, Decision.WITHDRAWN, Decision.OBJECTED})


class Basis(StrEnum):
    CONSENT = "consent"
    CONTRACT = "contract"
    LEGAL_OBLIGATION = "legal_obligation"
    VITAL_INTEREST = "vital_interest"
    PUBLIC_TASK = "public_task"
    LEGITIMATE_INTEREST = "legitimate_interest"
    SOFT_OPT_IN = "soft_opt_in"


class Method(StrEnum):
    FORM = "form"
    DOUBLE_OPT_IN = "double_opt_in"
    KEYWORD = "keyword"
    ONE_CLICK = "one_click"
    PREFERENCE_CENTRE = "preference_centre"
    COMPLAINT = "complaint"
    API = "api"
    IMPORT = "import"
    SYNC = "sync"
    TRAIT = "trait"
    GPC = "gpc"
    VERBAL = "verbal"
    PAPER = "paper"
    MERGE = "merge"
    SPLIT = "split"
    IDENTIFIER_RELEASED = "identifier_released"
    ERASURE = "erasure"


class Scheme(StrEnum):
    GDPR = "gdpr"
    PECR_SOFT = "pecr_soft"
    CASL_EXPRESS = "casl_express"
    CASL_IMPLIED = "casl_implied"
    TCPA_PEWC = "tcpa_pewc"
    TCPA_PEC = "tcpa_pec"


class PurposeClass(StrEnum):
    SECURITY = "security"
    SERVICE = "service"
    MARKETING = "marketing"
    RESEARCH = "research"


class OptOutScope(StrEnum):
    """What a person's opt-out from a purpose reaches beside the purpose and what stands below it."""

    PURPOSE = "purpose"
    """Nothing."""
    BRAND = "brand"
    """The marketing and research purposes of the same brand."""
    CLASS = "class"
    """The purposes of the same class, whatever their brand."""


class Rank(IntEnum):
    """How far a decision is the person's own. It comes from the path and the key, never from what a caller says."""

    PUBLIC_KEY = 0
    IMPORT = 1
    SECRET_KEY = 2
    PERSON = 3


Clock = Annotated[str, Meta(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$", examples=["21:00"])]


class QuietHours(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When nothing is sent, by the person's clock. From 21:00 to 08:00 is over night."""

    start: Annotated[Clock, Meta(description="The first minute of silence.")]
    end: Annotated[Clock, Meta(description="The first minute after it.")]

    def __post_init__(self) -> None:
        if self.start == self.end:
            raise ValueError("field `end` is `start`; leave quiet_hours out for none")


class Strength(IntEnum):
    """How hard a restriction is to lift. `FIRM`: objection, complaint, STOP, erasure."""

    NONE = 0
    PLAIN = 1
    FIRM = 2


@dataclass(frozen=True, slots=True)
class Purpose:
    """Why we communicate."""

    key: str
    title: str
    purpose_class: PurposeClass
    basis: Basis
    unknown_allowed: bool
    """Whether it may be sent for while the person said nothing."""
    accepts_asserted: bool
    soft_opt_in: bool = False
    """Whether an assertion on the basis of a soft opt-in allows it."""
    parent: str | None = None
    consent_ttl: timedelta | None = None
    """How long a grant counts."""
    brand: str | None = None
    """None: the default brand of the side."""
    min_age: int | None = None
    """In whole years. Of whom we do not know the age, we do not know that they are old enough."""
    quiet_hours: QuietHours | None = None
    opt_out_scope: OptOutScope = OptOutScope.PURPOSE
    answers: bool = False
    """It answers what the person just wrote: nothing refuses it but a vendor's block. Only the hub sends for it."""
    archived: bool = False
    """Nothing is sent for it any more. What was refused for it stays refused."""
    unused: bool = False
    """Made by somebody, and nothing was decided or asked to be sent for it yet."""


Purposes = Mapping[str, Purpose]

BUILT_IN: Final[Purposes] = MappingProxyType(
    {
        purpose.key: purpose
        for purpose in (
            Purpose("security", "Security of your account", PurposeClass.SECURITY, Basis.CONTRACT, True, True),
            Purpose(
                ANSWER,
                "Answers to STOP, START and HELP",
                PurposeClass.SECURITY,
                Basis.CONTRACT,
                True,
                True,
                parent="security",
                answers=True,
            ),
            Purpose("transactional", "Your orders and account", PurposeClass.SERVICE, Basis.CONTRACT, True, True),
            Purpose("confirmation", "Confirming your choice", PurposeClass.SERVICE, Basis.CONTRACT, True, True),
            Purpose("marketing", "News and offers", PurposeClass.MARKETING, Basis.CONSENT, False, False),
        )
    }
)


class Standing(msgspec.Struct, frozen=True, gc=False):
    """One entry that is in force, as the rules see it."""

    id: UUID
    ordinal: int
    """Where it stands in the ledger: later is greater, whatever log it is in (`ledger.ordinals`)."""
    recipient_id: UUID | None
    identifier_hash: bytes | None
    person_scope: bool
    """A restriction that covers the whole person, not only the identifier."""
    channel: str
    purpose: str
    decision: Decision
    basis: Basis | None
    method: Method
    rank: Rank
    strength: Strength
    effective_at: datetime
    expires_at: datetime | None = None
    lifts: frozenset[int] = frozenset()
    """Ordinals of the restrictions that this grant lifted, for its own identifier, channel and purpose."""
    sender: str | None = None
    """A restriction of what comes from this one of our senders; None: from any."""


class Scope(msgspec.Struct, frozen=True, gc=False):
    """What an incoming decision is about, resolved."""

    recipient_id: UUID
    identifier_hash: bytes | None
    person_scope: bool
    channel: str
    purpose: str
    sender: str | None = None


class Kept(NamedTuple):
    """What a restriction says that the ledger has and that is not in force: something newer stood."""

    scope: Scope
    decision: Decision
    effective_at: datetime


class Incoming(msgspec.Struct, frozen=True, gc=False):
    """A decision as the rules see it: scope, authority and time, without the person."""

    scope: Scope
    decision: Decision
    basis: Basis | None
    method: Method
    rank: Rank
    effective_at: datetime
    time_known: bool = True
    complete: bool = False
    """Notice and evidence are complete: a P2 grant may lift a restriction."""
    assertable: bool = True
    """Source, notice and time are present: a P1 grant may stand as an assertion."""
    expires_at: datetime | None = None
    confirm: bool = False
    """The caller wants the person's own confirmation first."""
    addresses: frozenset[bytes] = frozenset()
    """The person's addresses that a restriction reaches, where it may have come late."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What an incoming decision does to the state."""

    decision: Decision
    """As recorded: a grant may become `pending` or `asserted`."""
    rank: Rank
    applied: bool
    reason: str | None = None
    strength: Strength = Strength.NONE
    lifts: frozenset[int] = frozenset()
    """Ordinals of the restrictions that this grant lifts."""
    ends: frozenset[UUID] = frozenset()
    """Standing entries that this one ends: grants it restricts, or what it replaces; of START, what STOP said."""
    restores: frozenset[UUID] = frozenset()
    """Grants that stand again, because nothing but what START ends had ended them."""
    survived: frozenset[UUID] = frozenset()
    """Newer grants that this restriction leaves standing: they lift it."""
    ignored: bool = False
    """No entry at all."""


@dataclass(frozen=True, slots=True)
class Notice:
    """The text the person saw."""

    id: str
    version: str | int
    served: UUID | None = None
    """The showing of it that they decided on."""


@dataclass(frozen=True, slots=True)
class NewDecision:
    """A decision to record, as it arrived. `rank` and `actor` are what the path knows, not what the caller says."""

    recipient: Ref
    channel: str
    purpose: str
    decision: Decision
    basis: Basis | None
    method: Method
    source: str
    rank: Rank
    actor: str
    identifier: Ref | None = None
    """Where named apart from the recipient."""
    identifier_only: bool = False
    """Restrict this identifier and not the person's others (STOP)."""
    vendor_block: str | None = None
    """Our sender that the vendor refuses to send from to this number from now on; '' when it does not say which."""
    vendor_unblock: str | None = None
    """Our sender that the vendor sends from to this number again; a block of no named sender ends with it."""
    sender: str | None = None
    """Restrict what comes from this one of our senders alone."""
    notice: Notice | None = None
    evidence: Mapping[str, Any] | None = None
    scheme: Scheme | None = None
    jurisdiction: str | None = None
    expires_at: datetime | None = None
    occurred_at: datetime | None = None
    confirm: bool = False


class Placed(msgspec.Struct, frozen=True, gc=False):
    """A decision with its scope. The rows of its recipient and of the identifier's owner are locked."""

    scope: Scope
    identifier: Identifier | None
    address_only: bool
    """The recipient is known only as an address that must not be written to."""
    addresses: frozenset[bytes] = frozenset()
    """Of a late restriction of the whole person: which of the person's addresses it reaches."""
    owned: tuple[Identifier, ...] = ()
    """Of a late restriction: all addresses of the person."""
    starts: bool = False
    """It is a START, which may bring back what STOP had ended."""


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """What became of a decision: its entry, or (`id` None) that it was ignored and has none."""

    recipient_id: UUID
    decision: Decision
    """As recorded: a grant may have become `pending` or `asserted`."""
    applied: bool
    reason: str | None = None
    id: UUID | None = None
    log_index: int | None = None
    log: str | None = None
    """The log that it stands in, where that is not the first."""
    leaf_hash: bytes = b""
    tree_size: int | None = None
    """Of the signed tree that holds the entry."""
    deliverable: bool | None = None
    """False: applied, but the vendor blocks the number until the person lifts that block."""
    in_flight: Sequence[UUID] = ()
    """Attempts that this restriction covers and that had started before it."""
    warnings: Sequence[str] = ()
    """What keeps its notice and evidence from being whole, or does not fit."""
    renews: bool = False
    """A restriction that took the place of one that said the same."""


@dataclass(frozen=True, slots=True)
class KeptEntry:
    """An entry as it is kept, whether it counts or not."""

    id: UUID
    ordinal: int
    leaf_hash: bytes
    subject_id: UUID | None
    """About whom it was recorded, and whose key seals it."""
    recipient_id: UUID | None
    """For whom it counts: another after a merge or a split."""
    channel: str
    purpose: str
    decision: str
    basis: str | None
    method: str
    source: str
    recorded_at: datetime
    effective_at: datetime | None
    expires_at: datetime | None
    applied: bool
    standing: bool
    reason: str | None
    sealed: bytes | None
    notice: str | None = None
    notice_version: str | None = None


@dataclass(frozen=True, slots=True)
class RefusedGrant:
    """A grant of an import or a sync that met a restriction: in the ledger, not in force, for people to look at."""

    new: NewDecision
    recorded: Recorded
    identifier: Identifier


class GrantsRefused(Protocol):
    async def __call__(self, tx: Tx, workspace_id: WorkspaceId, refused: Sequence[RefusedGrant]) -> None:
        """Called in the transaction that records them, with their recipients locked."""
        ...


class StopScope(StrEnum):
    """What a STOP by phone restricts, beside class `security`, which it never does."""

    ALL_MESSAGING = "all_messaging"
    """All messages to the number."""
    BRAND = "brand"
    """Messages to the number for purposes of the brand whose account it came to; all where that is not known."""
    SENDER = "sender"
    """Messages to the number from the one of our numbers it was sent to; all where that is not known."""
    PERSON = "person"
    """All messages to any number of the person."""


@dataclass(frozen=True, slots=True)
class RecipientSignal:
    """What a vendor says a person did: an opt-out by keyword, a complaint. Recorded as a decision of the person."""

    signal: Signal | None
    """None: the vendor says what the person wrote, and not what it means."""
    channel: Channel
    address: str
    source: str
    """The provider, as `twilio`."""
    actor: str
    """The account, as `acc_…`."""
    sender: str | None = None
    """Our number, as the vendor names it."""
    blocked_by_vendor: bool = True
    """Whether the vendor, too, refuses to send to this person from now on; of START, whether it sends again."""
    occurred_at: datetime | None = None
    evidence: Mapping[str, Any] | None = None
    text: str | None = field(default=None, repr=False)
    """What the person wrote, if they did."""
    account_id: UUID | None = None
    """The account it came to, where it is one to answer through."""
    brand: str | None = None
    """The key of the brand that the account is of, where that is known."""
    unclear: bool = False
    """A STOP that the person did not say in so many words."""
    language: str = "en"
    """Of the word."""


@dataclass(frozen=True, slots=True)
class UnclearReply:
    """A reply that refused without saying STOP, and what was recorded of it."""

    signal: RecipientSignal
    recorded: Recorded


class RepliesUnclear(Protocol):
    async def __call__(self, tx: Tx, workspace_id: WorkspaceId, replies: Sequence[UnclearReply]) -> None:
        """Called in the transaction that records them, with their recipients locked."""
        ...


@dataclass(frozen=True, slots=True)
class Because:
    """The merge that consent follows. Both rows are locked."""

    merge_id: UUID
    from_id: UUID
    into_id: UUID
    actor: str


@dataclass(frozen=True, slots=True)
class Joined:
    """What a merge did to consent, for taking it back."""

    entries: Sequence[UUID]
    """That counted for one and count for the other since."""
    stated: Mapping[UUID, UUID]
    """The entries that the merge added, and the restriction that each says again."""
    ordinal: int
    """Of the last entry of the two; what is later was said about the merged person. -1: none."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What proves one entry: its committed record, and the key that its commitment is made with. Prints neither."""

    entry_id: UUID
    ordinal: int
    purpose: str
    record: bytes = field(repr=False)
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Covered:
    """What an applied restriction covers, for finding the attempts under way."""

    recipient_ids: Sequence[UUID]
    """The persons covered as a whole; empty when only the identifier is."""
    identifier_hash: bytes | None
    channels: frozenset[str]
    """Empty: all."""
    purposes: frozenset[str]
    """The purpose keys covered, spelled out."""


class InFlight(Protocol):
    async def __call__(self, tx: Tx, workspace_id: WorkspaceId, scopes: Sequence[Covered]) -> Sequence[Sequence[UUID]]:
        """For each scope, the attempts in it that have started and not ended."""
        ...
