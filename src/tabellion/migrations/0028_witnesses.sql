-- The heads that may be shown, and what each witness cosigned of the logs. Owned by ledger.

create table ledger_published (
    workspace_id uuid not null,
    log text not null,
    generation smallint not null,
    size bigint not null check (size >= 0),
    checkpoint text not null,
    policy bytea not null check (octet_length(policy) = 32),
    published_at timestamptz not null,
    primary key (workspace_id, log, generation),
    foreign key (workspace_id, log, generation) references ledger_heads
) with (fillfactor = 50);
comment on column ledger_published.checkpoint is 'with the cosignatures that the policy asks for';
comment on column ledger_published.policy is 'the digest of the policy that it satisfies';

create table ledger_witnesses (
    workspace_id uuid not null,
    log text not null,
    generation smallint not null,
    witness text not null,
    size bigint not null check (size >= 0),
    cosigned_at timestamptz,
    trouble text,
    trouble_since timestamptz,
    primary key (workspace_id, log, generation, witness),
    foreign key (workspace_id, log, generation) references ledger_heads,
    check ((trouble is null) = (trouble_since is null))
) with (fillfactor = 50);
comment on column ledger_witnesses.witness is 'its verifier key';
comment on column ledger_witnesses.size is 'that of the last checkpoint it cosigned, as far as we know';
