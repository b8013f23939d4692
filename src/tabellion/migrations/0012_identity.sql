-- Merges, each with what it moved, so that it can be taken back. Owned by identity.

create table merges (
    workspace_id uuid not null,
    id uuid not null,
    from_id uuid not null,
    into_id uuid not null,
    rule text not null check (rule in ('requested', 'address_attached')),
    actor text not null check (length(actor) between 1 and 64),
    merged_at timestamptz not null,
    undone_at timestamptz,
    undone_by text check (length(undone_by) between 1 and 64),
    sealed bytea,
    identifiers bytea[] not null,
    recipients uuid[] not null,
    entries uuid[] not null,
    stated uuid[] not null,
    restated uuid[] not null,
    log_index bigint not null,
    primary key (workspace_id, id),
    foreign key (workspace_id, from_id) references recipients (workspace_id, id),
    foreign key (workspace_id, into_id) references recipients (workspace_id, id),
    check (from_id <> into_id),
    check ((undone_at is null) = (undone_by is null)),
    check (cardinality(stated) = cardinality(restated))
);

comment on column merges.sealed is 'reason, evidence and names of the fields taken, under the data key of into_id; null after erasure';
comment on column merges.identifiers is 'hashes of the identifiers that moved';
comment on column merges.recipients is 'who was part of from_id and became part of into_id with it';
comment on column merges.entries is 'consent entries that counted for from_id and count for into_id since';
comment on column merges.stated is 'consent entries that this merge added; each says again the entry of the same place in restated';
comment on column merges.log_index is 'the last consent entry of the two at the time; -1: none. What is later was said in between';

create unique index merges_one_open on merges (workspace_id, from_id) where undone_at is null;
create index merges_from on merges (workspace_id, from_id);
create index merges_into on merges (workspace_id, into_id);

-- The end of a restriction that a merge stated is of the same scope as that was: of the whole person, for any channel.
alter table consent_entries
    drop constraint consent_entries_check3,
    drop constraint consent_entries_check6,
    add constraint consent_entries_grant_named check (identifier_hash is not null or strength > 0 or decision = 'expired'),
    add constraint consent_entries_grant_narrow check (
        strength > 0 or decision = 'expired' or (not person_scope and channel <> '*' and purpose <> '*')
    );
