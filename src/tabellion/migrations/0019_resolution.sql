-- Identifiers that change hands, are of too many persons, or fall silent. Owned by recipients; rules of merges by identity.

alter table identifiers
    add column shared_at timestamptz,
    add column watched_at timestamptz;

comment on column identifiers.shared_at is 'since when too many persons use the device or browser; it then resolves to nobody';
comment on column identifiers.watched_at is 'when a token or subscription was last looked at: last_seen_at by then; infinity: it need not be';

-- What has not been looked at for long. `last_seen_at` is in no index, so that naming a token again touches none.
create index identifiers_silent on identifiers (workspace_id, coalesce(watched_at, first_seen_at))
    where kind in ('device', 'webpush');

create table identifier_claims (
    workspace_id uuid not null,
    hash bytea not null,
    recipient_id uuid not null,
    seen_at timestamptz not null,
    primary key (workspace_id, hash, recipient_id)
);

comment on table identifier_claims is 'which known persons a device or anonymous id was named with, once there were two';

alter table merges
    drop constraint merges_rule_check,
    add constraint merges_rule_check
        check (rule in ('requested', 'address_attached', 'review', 'anonymous_to_known', 'aliased'));
