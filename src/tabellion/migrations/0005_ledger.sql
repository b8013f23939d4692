-- The ledger: one append-only Merkle tree a workspace side and log, and a successor after a loss. Owned by ledger.

create table ledger_heads (
    workspace_id uuid not null,
    log text not null check (log ~ '^[a-z][a-z_]{0,31}$'),
    generation smallint not null check (generation >= 1),
    origin text not null unique,
    size bigint not null check (size >= 0),
    frontier bytea not null,
    checkpoint text not null,
    public_key bytea not null check (octet_length(public_key) = 32),
    updated_at timestamptz not null,
    closed_at timestamptz,
    primary key (workspace_id, log, generation),
    check (octet_length(frontier) = 32 * bit_count(size::bit(64)))
) with (fillfactor = 50);

create unique index ledger_heads_open on ledger_heads (workspace_id, log) where closed_at is null;

create table ledger_keys (
    workspace_id uuid not null,
    log text not null,
    generation smallint not null,
    from_size bigint not null,
    to_size bigint,
    public_key bytea not null check (octet_length(public_key) = 32),
    sealed bytea not null,
    created_at timestamptz not null,
    primary key (workspace_id, log, generation, from_size),
    foreign key (workspace_id, log, generation) references ledger_heads,
    check (to_size >= from_size)
);

create unique index ledger_keys_current on ledger_keys (workspace_id, log, generation) where to_size is null;

-- No foreign key to the head: it is checked a row, and the head is locked by whoever inserts.
create table ledger_leaves (
    workspace_id uuid not null,
    log text not null,
    generation smallint not null,
    index bigint not null check (index >= 0),
    entry_id uuid not null,
    leaf bytea not null,
    primary key (workspace_id, log, generation, index),
    constraint ledger_leaves_entry unique (entry_id, workspace_id)
);

create table ledger_tiles (
    workspace_id uuid not null,
    log text not null,
    generation smallint not null,
    level smallint not null check (level between 0 and 7),
    index bigint not null check (index >= 0),
    hashes bytea not null check (octet_length(hashes) = 8192),
    root bytea not null check (octet_length(root) = 32),
    primary key (workspace_id, log, generation, level, index)
);

-- Hashes do not compress; out of line, so that reading roots does not read them.
alter table ledger_tiles alter column hashes set storage external;
