-- Where an audit entry stands in the side's log `audit`. Owned by access.

alter table audit
    add column log_generation smallint,
    add column log_index bigint,
    add constraint audit_logged check ((log_generation is null) = (log_index is null));

comment on column audit.log_index is 'null: audited before there was a log, which vouches for these rows together';

create unique index audit_log on audit (workspace_id, log_generation, log_index) where log_index is not null;
create index audit_unlogged on audit (workspace_id, id) where log_index is null;
