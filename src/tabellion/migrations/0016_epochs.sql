-- The epoch keys there were. Owned by core/vault and core/rotation.

create table epochs (
    name text primary key,
    mark bytea,
    made_at timestamptz not null,
    emptied_at timestamptz,
    destroyed_at timestamptz
);

comment on column epochs.mark is 'a hash under the key, which tells another key of that name; null for epoch-1';
comment on column epochs.emptied_at is 'since when no living key is wrapped under it; from then on, none is';

-- What every installation had until there were months.
insert into epochs (name, made_at)
select 'epoch-1', created_at
  from installation;
