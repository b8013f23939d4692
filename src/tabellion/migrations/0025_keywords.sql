-- STOP of one of our senders alone, START that takes a STOP back, and who answers such words.

alter table consent_entries
    add column sender text check (length(sender) between 1 and 255),
    add column ended_by uuid;

comment on column consent_entries.sender is 'a restriction of what comes from this one of our senders; null: from any';
comment on column consent_entries.ended_by is
    'derived: the entry that ended this one, while something may bring it back; START brings back what STOP had ended';

create index consent_entries_ended_by on consent_entries (workspace_id, ended_by) where ended_by is not null;

-- A rejected unclear reply does not hold: what somebody writes another day is another reply.
drop index reviews_standing;
create unique index reviews_standing on reviews (workspace_id, dedupe)
    where state = 'open' or (state = 'rejected' and kind <> 'unclear_reply');

alter table accounts
    add column keyword_replies text check (keyword_replies in ('vendor', 'hub', 'off')),
    add column brand text check (length(brand) between 1 and 64);

comment on column accounts.keyword_replies is
    'who answers STOP, START and HELP; null: the vendor where it handles keywords, else the hub';
comment on column accounts.brand is 'whose senders these are; null: not known';

create table keywords_received (
    workspace_id uuid not null,
    identifier_hash bytea not null,
    signal text not null check (signal in ('stop', 'start', 'help')),
    id uuid not null,
    recipient_id uuid not null,
    account_id uuid not null,
    channel text not null,
    sender text check (length(sender) between 1 and 255),
    language text not null check (length(language) between 2 and 16),
    received_at timestamptz not null,
    primary key (workspace_id, identifier_hash, signal),
    unique (workspace_id, id)
);

comment on table keywords_received is 'the last of each keyword from each number, for a day: it is answered once';
comment on column keywords_received.sender is 'our number it was sent to, where the vendor says it';

create index keywords_received_at on keywords_received (workspace_id, received_at);
