-- Every version of a recipient: who made it, when, and what it changed. Owned by recipients.

create table recipient_versions (
    workspace_id uuid not null,
    recipient_id uuid not null,
    version integer not null check (version > 0),
    changed_at timestamptz not null,
    source text not null check (length(source) between 1 and 64),
    actor text not null check (length(actor) between 1 and 64),
    changed text[] not null,
    merged_into uuid,
    change bytea,
    primary key (workspace_id, recipient_id, version),
    check (change is not null or version = 1 or merged_into is not null)
);

comment on column recipient_versions.actor is 'the key that asked for it, or where nobody did the source';
comment on column recipient_versions.changed is 'names of our own fields, never of traits';
comment on column recipient_versions.merged_into is 'whose it is from here on, its own id after a split; null: as before';
comment on column recipient_versions.change is
    'from and to, sealed with the data key of recipient_id; null where all that can be said follows from the present';
