-- The texts that people are shown before they decide, and what was shown to whom. Owned by consent/notices.

create table notices (
    workspace_id uuid not null,
    -- Chosen by the customer.
    key text not null,
    id uuid not null,
    title text not null,
    purposes text[] not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    retired_at timestamptz,
    primary key (workspace_id, key),
    unique (workspace_id, id)
);

create table notice_versions (
    workspace_id uuid not null,
    notice text not null,
    version text not null,
    id uuid not null,
    default_language text not null,
    -- By language (BCP 47).
    texts jsonb not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    -- Of the notice when this was published; null before.
    title text,
    purposes text[],
    published_at timestamptz,
    published_by text,
    hash bytea,
    primary key (workspace_id, notice, version),
    unique (workspace_id, id),
    foreign key (workspace_id, notice) references notices (workspace_id, key),
    constraint notice_versions_whole check (
        (published_at is null) = (hash is null) and (published_at is null) = (title is null)
        and (published_at is null) = (purposes is null) and (published_at is null) = (published_by is null)
    ),
    check (texts ? default_language)
);

create function refuse_change_of_published() returns trigger language plpgsql as $$
begin
    raise exception 'a published version of a notice is never changed and never deleted';
end
$$;

create trigger notice_versions_published
    before update or delete on notice_versions
    for each row when (old.published_at is not null)
    execute function refuse_change_of_published();

create table notices_served (
    workspace_id uuid not null,
    id uuid not null,
    notice text not null,
    version text not null,
    language text not null,
    -- Whom it was shown to, and whose key seals the evidence. Null: nobody who is known, and a key of the side.
    recipient_id uuid,
    -- Keyed, of an identifier that nobody has: a browser's.
    identifier_hash bytea,
    means text not null,
    source text not null,
    actor text not null,
    served_at timestamptz not null,
    recorded_at timestamptz not null,
    sealed bytea not null,
    primary key (workspace_id, id)
);

create index notices_served_of_notice on notices_served (workspace_id, notice, id);
create index notices_served_of_person on notices_served (workspace_id, recipient_id, id)
    where recipient_id is not null;
create index notices_served_of_identifier on notices_served (workspace_id, identifier_hash)
    where identifier_hash is not null;

-- The notice that an entry names, beside its sealed record: what rests on which text.
alter table consent_entries add column notice text, add column notice_version text;
