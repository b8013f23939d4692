-- Orders of a person or the law on their data: erase, export, restrict, object.

create table regulations (
    workspace_id      uuid not null,
    id                uuid not null,
    type              text not null check (type in ('erase', 'export', 'restrict', 'object')),
    state             text not null check (
        state in ('awaiting_approval', 'scheduled', 'blocked', 'running', 'in_force', 'done', 'cancelled')),
    recipient_id      uuid not null,
    recipient_ids     uuid[] not null,
    requested_by      text not null check (length(requested_by) between 1 and 64),
    verified_by       text not null check (length(verified_by) between 1 and 200),
    options           jsonb not null,
    created_at        timestamptz not null,
    execute_at        timestamptz not null,
    due_at            timestamptz not null,
    approved_by       text,
    approved_at       timestamptz,
    cancelled_by      text,
    cancelled_at      timestamptz,
    erased_at         timestamptz,
    done_at           timestamptz,
    overdue_at        timestamptz,
    systems           jsonb not null,
    progress          jsonb not null,
    certificate       text,
    backups_expire_at timestamptz,
    primary key (workspace_id, id),
    check ((approved_by is null) = (approved_at is null)),
    check ((cancelled_by is null) = (cancelled_at is null)),
    check ((certificate is null) or (state = 'done'))
);
comment on column regulations.recipient_ids is 'all ids of the person, the merge root first; once erased, those that were erased together';
comment on column regulations.systems is 'what became of the order in each system that holds something about the person';
comment on column regulations.progress is 'how far an erasure came, so that it goes on there after a crash';
comment on column regulations.overdue_at is 'when the log said that the order is overdue';

-- What is open about a person, and what is overdue.
create index regulations_of_person on regulations using gin (recipient_ids);
create index regulations_open on regulations (due_at, workspace_id, id)
 where state in ('awaiting_approval', 'scheduled', 'blocked', 'running');

create table privacy_settings (
    workspace_id uuid primary key,
    settings     jsonb not null,
    updated_at   timestamptz not null
);
comment on table privacy_settings is 'a side without a row has the default';

-- Nothing of a person under one of these is destroyed.
create table legal_holds (
    workspace_id uuid not null,
    id           uuid not null,
    recipient_id uuid not null,
    reason       text not null check (length(reason) between 1 and 500),
    set_by       text not null,
    created_at   timestamptz not null,
    until        timestamptz,
    released_by  text,
    released_at  timestamptz,
    primary key (workspace_id, id),
    foreign key (workspace_id, recipient_id) references recipients (workspace_id, id),
    check ((released_by is null) = (released_at is null))
);
create index legal_holds_standing on legal_holds (workspace_id, recipient_id) where released_at is null;

-- Proof of a consent that messages relied on, kept beyond the person's erasure under a key of its own.
create table held_proofs (
    workspace_id  uuid not null,
    id            uuid not null,
    regulation_id uuid not null,
    entry_id      uuid not null,
    log_index     bigint not null,
    purpose       text not null,
    sealed        bytea,
    created_at    timestamptz not null,
    held_until    timestamptz not null,
    destroyed_at  timestamptz,
    primary key (workspace_id, id),
    check ((sealed is null) = (destroyed_at is not null))
);
comment on column held_proofs.sealed is 'record and key of the entry, sealed with the key of the subject of this id';
create index held_proofs_until on held_proofs (held_until, workspace_id, id) where destroyed_at is null;

-- A held proof opens for one key after another key agreed.
create table proof_openings (
    workspace_id uuid not null,
    id           uuid not null,
    proof_id     uuid not null,
    reason       text not null check (length(reason) between 1 and 500),
    requested_by text not null,
    requested_at timestamptz not null,
    approved_by  text,
    approved_at  timestamptz,
    ends_at      timestamptz,
    primary key (workspace_id, id),
    foreign key (workspace_id, proof_id) references held_proofs (workspace_id, id),
    check (approved_by <> requested_by)
);

-- Keyed hashes of the addresses of erased people, so that no import brings them back.
create table erased_identifiers (
    workspace_id  uuid not null,
    hash          bytea not null check (octet_length(hash) = 32),
    regulation_id uuid not null,
    erased_at     timestamptz not null,
    primary key (workspace_id, hash)
);

-- The keys that sign certificates; their public halves stand at /.well-known/jwks.json for ever.
create table signing_keys (
    kid        text primary key,
    public_key bytea not null check (octet_length(public_key) = 32),
    sealed     bytea not null,
    created_at timestamptz not null,
    retired_at timestamptz
);
create unique index signing_keys_current on signing_keys ((retired_at is null)) where retired_at is null;

-- Processing restricted: nothing is sent to the person.
alter table recipients add column restricted_at timestamptz;
create index recipients_restricted on recipients (workspace_id, id) where restricted_at is not null;

-- Of an erased person's grants nothing is left that names anybody.
alter table consent_entries drop constraint consent_entries_grant_named;
alter table consent_entries add constraint consent_entries_grant_named check (
    identifier_hash is not null or strength > 0 or decision = 'expired' or (sealed is null and not standing));

-- For how long consents of erased people stay provable.
alter table retention
    add column proofs_days integer not null default 1095 check (proofs_days >= 0),
    add column proofs_by_purpose jsonb not null default '{}';
