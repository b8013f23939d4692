-- Retention of events and of idle recipients, and what the last round of a side ended.

alter table retention
    add column events_days integer default 400 check (events_days > 0),
    add column recipients_days integer check (recipients_days > 0);

alter table retention_marks
    alter column messages_to drop not null,
    add column finals_to uuid,
    add column recipients_to uuid,
    add column round_at timestamptz,
    add column ended jsonb;
comment on column retention_marks.finals_to is 'all messages up to this id are final';
comment on column retention_marks.recipients_to is 'where the walk over recipients goes on; null: at the beginning';
comment on column retention_marks.round_at is 'when the last round began';
comment on column retention_marks.ended is 'what it ended, by kind';

-- What vendors reported about one person, for an erasure, an export and a legal hold.
create index callbacks_of_person on callbacks (workspace_id, recipient_id, id) where recipient_id is not null;
