-- What people must decide because no rule may: the review queue. Owned by identity.

create table reviews (
    workspace_id uuid not null,
    id uuid not null,
    kind text not null check (length(kind) between 1 and 64),
    state text not null check (state in ('open', 'accepted', 'rejected', 'superseded')),
    dedupe bytea not null check (length(dedupe) = 32),
    recipients uuid[] not null,
    source text not null check (length(source) between 1 and 255),
    evidence bytea,
    seen integer not null check (seen > 0),
    created_at timestamptz not null,
    last_seen_at timestamptz not null,
    decided_at timestamptz,
    decided_by text check (length(decided_by) between 1 and 64),
    reason bytea,
    primary key (workspace_id, id),
    check ((decided_at is null) = (state = 'open')),
    check ((decided_by is null) = (decided_at is null))
);

comment on column reviews.dedupe is 'keyed hash of what is in conflict, so that bringing it again opens no second item';
comment on column reviews.recipients is 'whom it concerns, less those who were erased';
comment on column reviews.evidence is
    'sealed under the data key of each of recipients, one over the other, in the order of their ids; null after erasure';
comment on column reviews.reason is 'why it was decided so, sealed like evidence';

create unique index reviews_standing on reviews (workspace_id, dedupe) where state in ('open', 'rejected');
create index reviews_recipients on reviews using gin (recipients);

alter table merges
    drop constraint merges_rule_check,
    add constraint merges_rule_check check (rule in ('requested', 'address_attached', 'review'));
