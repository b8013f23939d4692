-- The outbox: jobs to do now (one partition a lane), later, and never again. Owned by jobs/.

create sequence job_ids;

create table jobs (
    lane smallint not null,
    id bigint not null default nextval('job_ids'),
    workspace_id uuid not null,
    kind text not null,
    payload jsonb not null,
    tries integer not null default 0,
    -- A hand-off may have begun whose result nobody recorded: `lost` runs before the next `begin`.
    lost boolean not null default false,
    enqueued_at timestamptz not null,
    -- '-infinity': given back by a worker that stopped, not lost by one that died.
    lease_until timestamptz,
    lease_token uuid,
    error text,
    primary key (lane, id),
    check ((lease_until is null) = (lease_token is null))
) partition by list (lane);

-- Room on each page keeps the lease update HOT: no index entry is written for it. Vacuum never gives pages back,
-- because the planner takes a table of no pages for one that is cheap to read from end to end.
create table jobs_critical partition of jobs for values in (0) with (
    fillfactor = 60, vacuum_truncate = false, autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000
);
create table jobs_high partition of jobs for values in (1) with (
    fillfactor = 60, vacuum_truncate = false, autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000
);
create table jobs_normal partition of jobs for values in (2) with (
    fillfactor = 60, vacuum_truncate = false, autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000
);
create table jobs_bulk partition of jobs for values in (3) with (
    fillfactor = 60, vacuum_truncate = false, autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000
);

-- Not due yet. The ticker moves what is due into its lane, under a new id.
create table delayed (
    run_at timestamptz not null,
    id bigint not null default nextval('job_ids'),
    lane smallint not null check (lane between 0 and 3),
    workspace_id uuid not null,
    kind text not null,
    payload jsonb not null,
    tries integer not null default 0,
    lost boolean not null default false,
    enqueued_at timestamptz not null,
    error text,
    primary key (run_at, id)
) with (
    autovacuum_vacuum_cost_delay = 0, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000
);

-- Work that stopped trying, with its error, for people to edit and resubmit.
create table dead_letters (
    workspace_id uuid not null,
    id uuid not null,
    lane smallint not null check (lane between 0 and 3),
    kind text not null,
    payload jsonb not null,
    tries integer not null,
    lost boolean not null,
    error text not null,
    enqueued_at timestamptz not null,
    died_at timestamptz not null,
    primary key (workspace_id, id)
);
