-- What people decided, and which of it is in force. Owned by consent.

create table consent_entries (
    workspace_id uuid not null,
    id uuid not null,
    log_index bigint not null,
    leaf_hash bytea not null,
    -- Whose key seals the record. Never follows a merge, unlike recipient_id.
    subject_id uuid,
    -- Who it counts for today: follows merges; null after erasure.
    recipient_id uuid,
    -- A restriction of the whole person, not only of the identifier.
    person_scope boolean not null,
    identifier_kind text,
    identifier_hash bytea,
    channel text not null,
    purpose text not null,
    decision text not null,
    basis text,
    method text not null,
    source text not null,
    rank smallint not null,
    strength smallint not null,
    recorded_at timestamptz not null,
    -- Null: an import that did not say when; the oldest of all.
    effective_at timestamptz,
    expires_at timestamptz,
    applied boolean not null,
    reason text,
    -- Derived: in force now. Everything above is written once.
    standing boolean not null,
    -- Derived: log indexes of the restrictions this grant lifted, for its own identifier, channel and purpose.
    lifts bigint[] not null,
    sealed bytea,
    primary key (workspace_id, id),
    unique (workspace_id, log_index),
    check (decision in ('granted', 'denied', 'withdrawn', 'objected', 'asserted', 'pending', 'expired')),
    check (rank between 0 and 3 and strength between 0 and 2),
    check ((strength > 0) = (decision in ('denied', 'withdrawn', 'objected'))),
    check ((identifier_hash is null) = (identifier_kind is null)),
    check (identifier_hash is not null or strength > 0),
    check (applied or not standing),
    check (not standing or decision in ('granted', 'asserted', 'denied', 'withdrawn', 'objected')),
    check (strength > 0 or (not person_scope and channel <> '*' and purpose <> '*')),
    check (cardinality(lifts) = 0 or decision = 'granted')
) with (fillfactor = 90);

create index consent_entries_of_identifier on consent_entries (workspace_id, identifier_hash) where standing;
create index consent_entries_of_person on consent_entries (workspace_id, recipient_id) where standing;
create index consent_entries_history on consent_entries (workspace_id, recipient_id, log_index);
-- At most one grant or assertion stands for one identifier of one person, channel and purpose.
create unique index consent_entries_one_grant
    on consent_entries (workspace_id, recipient_id, identifier_hash, channel, purpose)
    where standing and strength = 0;

-- Numbers a vendor refuses to send to, and from which of our senders; '' when it did not say.
create table vendor_blocks (
    workspace_id uuid not null,
    identifier_hash bytea not null,
    sender text not null,
    entry_id uuid,
    blocked_at timestamptz not null,
    primary key (workspace_id, identifier_hash, sender)
);
