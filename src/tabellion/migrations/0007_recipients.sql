-- The canonical record of a person, and the identifiers that resolve to it. Owned by recipients.

create table recipients (
    workspace_id uuid not null,
    id uuid not null,
    merged_into uuid not null,
    address_only boolean not null,
    version integer not null default 1 check (version > 0),
    locale text check (length(locale) <= 64),
    time_zone text check (length(time_zone) <= 64),
    traits bytea,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    erased_at timestamptz,
    primary key (workspace_id, id),
    foreign key (workspace_id, merged_into) references recipients (workspace_id, id),
    check (erased_at is null or (traits is null and locale is null and time_zone is null))
) with (fillfactor = 90);

comment on column recipients.merged_into is 'its own id for a root; otherwise the root, never a recipient between';
comment on column recipients.address_only is 'known only as an address that must not be written to; hidden from lists';
comment on column recipients.traits is 'sealed with the person''s data key';

create index recipients_merged on recipients (workspace_id, merged_into) where merged_into <> id;

create table identifiers (
    workspace_id uuid not null,
    hash bytea not null check (octet_length(hash) = 32),
    kind text not null check (kind in ('email', 'phone', 'external_id')),
    recipient_id uuid not null,
    value bytea not null,
    email_domain text check (email_domain is null or kind = 'email'),
    source text not null check (length(source) <= 64),
    verified_at timestamptz,
    first_seen_at timestamptz not null,
    last_seen_at timestamptz not null,
    primary key (workspace_id, hash),
    foreign key (workspace_id, recipient_id) references recipients (workspace_id, id)
) with (fillfactor = 90);

comment on column identifiers.hash is 'HMAC of kind and value under the workspace side''s look-up key';
comment on column identifiers.value is 'sealed with the data key of recipient_id';

-- The person first: led by the workspace, a look-up by hash could be planned through it, on a table that looks small.
create index identifiers_recipient on identifiers (recipient_id, workspace_id);
create unique index identifiers_one_external_id on identifiers (workspace_id, recipient_id) where kind = 'external_id';
