-- More kinds of identifiers, their health, and what belongs to push tokens. Owned by recipients.

alter table identifiers
    drop constraint identifiers_kind_check,
    add constraint identifiers_kind_check check (
        kind in ('email', 'phone', 'external_id', 'whatsapp', 'device', 'webpush', 'wallet', 'anonymous')
        or kind like 'external:_%'
    ),
    add column match_hash bytea check (match_hash is null or (octet_length(match_hash) = 32 and kind = 'email')),
    add column health text not null default 'ok'
        check (health in ('ok', 'soft_bouncing', 'held', 'invalid', 'stale')),
    add column health_reason text check (length(health_reason) <= 200),
    add column health_at timestamptz,
    add column platform text check (platform in ('ios', 'android', 'web')),
    add column push_provider text check (push_provider in ('fcm', 'apns')),
    add column app text check (length(app) <= 128),
    add column permission text check (permission in ('granted', 'denied', 'provisional')),
    add constraint identifiers_device_check check (
        kind = 'device' or (platform is null and push_provider is null and app is null and permission is null)
    );

comment on column identifiers.match_hash is
    'keyed hash of the mailbox an address belongs to, where it is written otherwise; never sent to, not unique';
comment on column identifiers.health_at is 'when health last changed; null: it never did';

create index identifiers_mailbox on identifiers (workspace_id, match_hash) where match_hash is not null;
