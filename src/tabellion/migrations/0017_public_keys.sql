-- Public keys, for browsers and apps, and the keys that sign what a backend vouches for. Owned by access.

alter table api_keys
    drop constraint api_keys_role_check,
    add constraint api_keys_role_check check (
        role in ('owner', 'admin', 'developer', 'operator', 'compliance', 'ingest', 'readonly', 'public')
    ),
    add column source text check (length(source) between 1 and 64),
    add column origins text[] not null default '{}',
    add column address_limit integer check (address_limit > 0),
    add constraint api_keys_public_check check (
        (role = 'public') = (source is not null)
        and (role = 'public') = (address_limit is not null)
        and (role = 'public' or origins = '{}')
    );

comment on column api_keys.source is 'of a public key: what its writes are recorded with';
comment on column api_keys.origins is 'of a public key: the web origins it may be used from';
comment on column api_keys.address_limit is 'of a public key: requests a second from one source address';

-- Who holds one speaks for the workspace's users. A secret is sealed under the side's `secrets` key.
create table user_token_keys (
    workspace_id uuid not null references workspace_sides (workspace_id),
    id uuid not null,
    name text check (length(name) <= 200),
    algorithm text not null check (algorithm in ('HS256', 'ES256', 'EdDSA')),
    sealed bytea,
    public_key text,
    created_at timestamptz not null,
    created_by text not null,
    revoked_at timestamptz,
    primary key (workspace_id, id),
    check ((algorithm = 'HS256') = (sealed is not null)),
    check ((algorithm = 'HS256') = (public_key is null))
);
