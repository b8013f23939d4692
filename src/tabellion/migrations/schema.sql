-- What the migrations beside this file make of an empty database. Written by `make schema`; not applied.

CREATE FUNCTION public.refuse_change_of_published() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    raise exception 'a published version of a notice is never changed and never deleted';
end
$$;

CREATE TABLE public.account_pacing (
    workspace_id uuid NOT NULL,
    account_id uuid NOT NULL,
    rate double precision NOT NULL,
    ceiling double precision,
    next_at timestamp with time zone NOT NULL,
    paused_until timestamp with time zone NOT NULL,
    shrunk_at timestamp with time zone NOT NULL,
    grown_at timestamp with time zone NOT NULL,
    CONSTRAINT account_pacing_ceiling_check CHECK ((ceiling > (0)::double precision)),
    CONSTRAINT account_pacing_rate_check CHECK ((rate > (0)::double precision))
)
WITH (fillfactor='50');

COMMENT ON COLUMN public.account_pacing.ceiling IS 'the limit that was set; null: none';

COMMENT ON COLUMN public.account_pacing.next_at IS 'the earliest departure not yet reserved';

CREATE TABLE public.accounts (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    provider text NOT NULL,
    name text NOT NULL,
    settings jsonb NOT NULL,
    host text NOT NULL,
    secrets bytea,
    weight integer NOT NULL,
    simulated boolean NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    disabled_at timestamp with time zone,
    keyword_replies text,
    brand text,
    CONSTRAINT accounts_brand_check CHECK (((length(brand) >= 1) AND (length(brand) <= 64))),
    CONSTRAINT accounts_check CHECK (((NOT simulated) OR (secrets IS NULL))),
    CONSTRAINT accounts_keyword_replies_check CHECK ((keyword_replies = ANY (ARRAY['vendor'::text, 'hub'::text, 'off'::text]))),
    CONSTRAINT accounts_name_check CHECK (((length(name) >= 1) AND (length(name) <= 200))),
    CONSTRAINT accounts_weight_check CHECK (((weight >= 1) AND (weight <= 1000)))
);

COMMENT ON COLUMN public.accounts.id IS 'unique alone: a callback names the account and nothing else';

COMMENT ON COLUMN public.accounts.settings IS 'without secrets';

COMMENT ON COLUMN public.accounts.host IS 'scheme://host:port that the secrets are sealed for';

COMMENT ON COLUMN public.accounts.simulated IS 'made by the hub for a test side; its settings are made up at each use';

COMMENT ON COLUMN public.accounts.keyword_replies IS 'who answers STOP, START and HELP; null: the vendor where it handles keywords, else the hub';

COMMENT ON COLUMN public.accounts.brand IS 'whose senders these are; null: not known';

CREATE TABLE public.api_key_usage (
    workspace_id uuid NOT NULL,
    key_id uuid NOT NULL,
    hour timestamp with time zone NOT NULL,
    uses bigint NOT NULL,
    last_used_at timestamp with time zone NOT NULL,
    CONSTRAINT api_key_usage_uses_check CHECK ((uses > 0))
)
WITH (fillfactor='70');

CREATE TABLE public.api_keys (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    hash bytea NOT NULL,
    role text NOT NULL,
    scopes text[] NOT NULL,
    name text,
    networks cidr[] DEFAULT '{}'::cidr[] NOT NULL,
    rate_limit integer,
    api_version text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    created_by text NOT NULL,
    expires_at timestamp with time zone,
    retires_at timestamp with time zone,
    replaced_by uuid,
    revoked_at timestamp with time zone,
    source text,
    origins text[] DEFAULT '{}'::text[] NOT NULL,
    address_limit integer,
    CONSTRAINT api_keys_address_limit_check CHECK ((address_limit > 0)),
    CONSTRAINT api_keys_check CHECK (((replaced_by IS NULL) = (retires_at IS NULL))),
    CONSTRAINT api_keys_hash_check CHECK ((length(hash) = 32)),
    CONSTRAINT api_keys_name_check CHECK ((length(name) <= 200)),
    CONSTRAINT api_keys_public_check CHECK ((((role = 'public'::text) = (source IS NOT NULL)) AND ((role = 'public'::text) = (address_limit IS NOT NULL)) AND ((role = 'public'::text) OR (origins = '{}'::text[])))),
    CONSTRAINT api_keys_rate_limit_check CHECK ((rate_limit > 0)),
    CONSTRAINT api_keys_role_check CHECK ((role = ANY (ARRAY['owner'::text, 'admin'::text, 'developer'::text, 'operator'::text, 'compliance'::text, 'ingest'::text, 'readonly'::text, 'public'::text]))),
    CONSTRAINT api_keys_source_check CHECK (((length(source) >= 1) AND (length(source) <= 64)))
);

COMMENT ON COLUMN public.api_keys.source IS 'of a public key: what its writes are recorded with';

COMMENT ON COLUMN public.api_keys.origins IS 'of a public key: the web origins it may be used from';

COMMENT ON COLUMN public.api_keys.address_limit IS 'of a public key: requests a second from one source address';

CREATE TABLE public.attempts (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    message_id uuid NOT NULL,
    recipient_id uuid NOT NULL,
    step smallint NOT NULL,
    purpose text NOT NULL,
    channel text NOT NULL,
    identifier bytea NOT NULL,
    account_id uuid NOT NULL,
    provider text NOT NULL,
    state text NOT NULL,
    reason text,
    permanent boolean DEFAULT false NOT NULL,
    provider_message_id text,
    provider_code text,
    detail text,
    decision jsonb NOT NULL,
    started_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone
)
WITH (fillfactor='80');

CREATE TABLE public.audit (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    at timestamp with time zone NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    target text NOT NULL,
    detail jsonb NOT NULL,
    log_generation smallint,
    log_index bigint,
    CONSTRAINT audit_logged CHECK (((log_generation IS NULL) = (log_index IS NULL)))
);

COMMENT ON COLUMN public.audit.log_index IS 'null: audited before there was a log, which vouches for these rows together';

CREATE TABLE public.brands (
    workspace_id uuid NOT NULL,
    key text NOT NULL,
    name text NOT NULL,
    contact text,
    url text,
    postal_address text,
    is_default boolean NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT brands_contact_check CHECK (((length(contact) >= 1) AND (length(contact) <= 200))),
    CONSTRAINT brands_key_check CHECK ((key ~ '^[a-z0-9][a-z0-9_-]{0,63}$'::text)),
    CONSTRAINT brands_name_check CHECK (((length(name) >= 1) AND (length(name) <= 100))),
    CONSTRAINT brands_postal_address_check CHECK (((length(postal_address) >= 1) AND (length(postal_address) <= 500))),
    CONSTRAINT brands_url_check CHECK (((length(url) >= 1) AND (length(url) <= 1000)))
);

COMMENT ON TABLE public.brands IS 'a side without a row that is the default has the brand named after the workspace';

COMMENT ON COLUMN public.brands.contact IS 'what HELP answers';

CREATE TABLE public.callbacks (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    account_id uuid NOT NULL,
    provider text NOT NULL,
    received_at timestamp with time zone NOT NULL,
    digest bytea NOT NULL,
    state text NOT NULL,
    raw bytea NOT NULL,
    recipient_id uuid,
    CONSTRAINT callbacks_state_check CHECK ((state = ANY (ARRAY['received'::text, 'normalised'::text, 'unmatched'::text, 'erased'::text])))
);

COMMENT ON COLUMN public.callbacks.recipient_id IS 'whose key seals raw; null: the key of the workspace side';

CREATE TABLE public.confirmations (
    workspace_id uuid NOT NULL,
    entry_id uuid NOT NULL,
    recipient_id uuid NOT NULL,
    identifier_hash bytea NOT NULL,
    channel text NOT NULL,
    purpose text NOT NULL,
    asked_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    message_id uuid,
    confirmed_at timestamp with time zone,
    CONSTRAINT confirmations_check CHECK ((expires_at > asked_at)),
    CONSTRAINT confirmations_identifier_hash_check CHECK ((length(identifier_hash) = 32))
);

COMMENT ON TABLE public.confirmations IS 'pending entries until they are confirmed or their time is over';

COMMENT ON COLUMN public.confirmations.message_id IS 'what asked the person; null: nothing was sent';

CREATE TABLE public.consent_entries (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    log_index bigint NOT NULL,
    leaf_hash bytea NOT NULL,
    subject_id uuid,
    recipient_id uuid,
    person_scope boolean NOT NULL,
    identifier_kind text,
    identifier_hash bytea,
    channel text NOT NULL,
    purpose text NOT NULL,
    decision text NOT NULL,
    basis text,
    method text NOT NULL,
    source text NOT NULL,
    rank smallint NOT NULL,
    strength smallint NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    effective_at timestamp with time zone,
    expires_at timestamp with time zone,
    applied boolean NOT NULL,
    reason text,
    standing boolean NOT NULL,
    lifts bigint[] NOT NULL,
    sealed bytea,
    notice text,
    notice_version text,
    sender text,
    ended_by uuid,
    CONSTRAINT consent_entries_check CHECK ((((rank >= 0) AND (rank <= 3)) AND ((strength >= 0) AND (strength <= 2)))),
    CONSTRAINT consent_entries_check1 CHECK (((strength > 0) = (decision = ANY (ARRAY['denied'::text, 'withdrawn'::text, 'objected'::text])))),
    CONSTRAINT consent_entries_check2 CHECK (((identifier_hash IS NULL) = (identifier_kind IS NULL))),
    CONSTRAINT consent_entries_check4 CHECK ((applied OR (NOT standing))),
    CONSTRAINT consent_entries_check5 CHECK (((NOT standing) OR (decision = ANY (ARRAY['granted'::text, 'asserted'::text, 'denied'::text, 'withdrawn'::text, 'objected'::text])))),
    CONSTRAINT consent_entries_check7 CHECK (((cardinality(lifts) = 0) OR (decision = 'granted'::text))),
    CONSTRAINT consent_entries_decision_check CHECK ((decision = ANY (ARRAY['granted'::text, 'denied'::text, 'withdrawn'::text, 'objected'::text, 'asserted'::text, 'pending'::text, 'expired'::text]))),
    CONSTRAINT consent_entries_grant_named CHECK (((identifier_hash IS NOT NULL) OR (strength > 0) OR (decision = 'expired'::text) OR ((sealed IS NULL) AND (NOT standing)))),
    CONSTRAINT consent_entries_grant_narrow CHECK (((strength > 0) OR (decision = 'expired'::text) OR ((NOT person_scope) AND (channel <> '*'::text) AND (purpose <> '*'::text)))),
    CONSTRAINT consent_entries_sender_check CHECK (((length(sender) >= 1) AND (length(sender) <= 255)))
)
WITH (fillfactor='90');

COMMENT ON COLUMN public.consent_entries.log_index IS 'ordinal: generation - 1 from bit 48 up, index in that log below; in the first generation it is the index';

COMMENT ON COLUMN public.consent_entries.lifts IS 'derived: ordinals of the restrictions this grant lifted, for its own identifier, channel and purpose';

COMMENT ON COLUMN public.consent_entries.sender IS 'a restriction of what comes from this one of our senders; null: from any';

COMMENT ON COLUMN public.consent_entries.ended_by IS 'derived: the entry that ended this one, while something may bring it back; START brings back what STOP had ended';

CREATE TABLE public.consent_settings (
    workspace_id uuid NOT NULL,
    settings jsonb NOT NULL,
    updated_at timestamp with time zone NOT NULL
);

COMMENT ON TABLE public.consent_settings IS 'a side without a row has the default';

CREATE TABLE public.dead_letters (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    lane smallint NOT NULL,
    kind text NOT NULL,
    payload jsonb NOT NULL,
    tries integer NOT NULL,
    lost boolean NOT NULL,
    error text NOT NULL,
    enqueued_at timestamp with time zone NOT NULL,
    died_at timestamp with time zone NOT NULL,
    CONSTRAINT dead_letters_lane_check CHECK (((lane >= 0) AND (lane <= 3)))
);

CREATE SEQUENCE public.job_ids
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE public.delayed (
    run_at timestamp with time zone NOT NULL,
    id bigint DEFAULT nextval('public.job_ids'::regclass) NOT NULL,
    lane smallint NOT NULL,
    workspace_id uuid NOT NULL,
    kind text NOT NULL,
    payload jsonb NOT NULL,
    tries integer DEFAULT 0 NOT NULL,
    lost boolean DEFAULT false NOT NULL,
    enqueued_at timestamp with time zone NOT NULL,
    error text,
    CONSTRAINT delayed_lane_check CHECK (((lane >= 0) AND (lane <= 3)))
)
WITH (autovacuum_vacuum_cost_delay='0', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='20000');

CREATE TABLE public.epochs (
    name text NOT NULL,
    mark bytea,
    made_at timestamp with time zone NOT NULL,
    emptied_at timestamp with time zone,
    destroyed_at timestamp with time zone
);

COMMENT ON COLUMN public.epochs.mark IS 'a hash under the key, which tells another key of that name; null for epoch-1';

COMMENT ON COLUMN public.epochs.emptied_at IS 'since when no living key is wrapped under it; from then on, none is';

CREATE TABLE public.erased_identifiers (
    workspace_id uuid NOT NULL,
    hash bytea NOT NULL,
    regulation_id uuid NOT NULL,
    erased_at timestamp with time zone NOT NULL,
    CONSTRAINT erased_identifiers_hash_check CHECK ((octet_length(hash) = 32))
);

CREATE TABLE public.event_counts (
    type text NOT NULL,
    count bigint NOT NULL
)
WITH (fillfactor='50');

CREATE TABLE public.event_eras (
    era integer NOT NULL,
    system_identifier bigint NOT NULL,
    opened_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT event_eras_era_check CHECK (((era >= 1) AND (era <= 65535)))
);

CREATE SEQUENCE public.event_positions
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE public.events (
    era integer NOT NULL,
    "position" bigint DEFAULT nextval('public.event_positions'::regclass) NOT NULL,
    txid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    type text NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    recipient_id uuid,
    message_id uuid,
    data jsonb NOT NULL
)
PARTITION BY RANGE (recorded_at);

CREATE TABLE public.events_default (
    era integer CONSTRAINT events_era_not_null NOT NULL,
    "position" bigint DEFAULT nextval('public.event_positions'::regclass) CONSTRAINT events_position_not_null NOT NULL,
    txid xid8 DEFAULT pg_current_xact_id() CONSTRAINT events_txid_not_null NOT NULL,
    workspace_id uuid CONSTRAINT events_workspace_id_not_null NOT NULL,
    id uuid CONSTRAINT events_id_not_null NOT NULL,
    type text CONSTRAINT events_type_not_null NOT NULL,
    occurred_at timestamp with time zone CONSTRAINT events_occurred_at_not_null NOT NULL,
    recorded_at timestamp with time zone CONSTRAINT events_recorded_at_not_null NOT NULL,
    recipient_id uuid,
    message_id uuid,
    data jsonb CONSTRAINT events_data_not_null NOT NULL
);

CREATE TABLE public.followers (
    name text NOT NULL,
    era integer NOT NULL,
    txid xid8 NOT NULL,
    "position" bigint NOT NULL,
    day date,
    updated_at timestamp with time zone NOT NULL
)
WITH (fillfactor='50');

CREATE TABLE public.held_proofs (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    regulation_id uuid NOT NULL,
    entry_id uuid NOT NULL,
    log_index bigint NOT NULL,
    purpose text NOT NULL,
    sealed bytea,
    created_at timestamp with time zone NOT NULL,
    held_until timestamp with time zone NOT NULL,
    destroyed_at timestamp with time zone,
    CONSTRAINT held_proofs_check CHECK (((sealed IS NULL) = (destroyed_at IS NOT NULL)))
);

COMMENT ON COLUMN public.held_proofs.log_index IS 'ordinal, as of the entry';

COMMENT ON COLUMN public.held_proofs.sealed IS 'record and key of the entry, sealed with the key of the subject of this id';

CREATE TABLE public.idempotency (
    workspace_id uuid NOT NULL,
    scope bytea NOT NULL,
    body bytea NOT NULL,
    status smallint,
    answer bytea,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT idempotency_body_check CHECK ((length(body) = 32)),
    CONSTRAINT idempotency_check CHECK (((status IS NULL) = (answer IS NULL))),
    CONSTRAINT idempotency_scope_check CHECK ((length(scope) = 32))
)
WITH (fillfactor='60');

CREATE TABLE public.identifier_claims (
    workspace_id uuid NOT NULL,
    hash bytea NOT NULL,
    recipient_id uuid NOT NULL,
    seen_at timestamp with time zone NOT NULL
);

COMMENT ON TABLE public.identifier_claims IS 'which known persons a device or anonymous id was named with, once there were two';

CREATE TABLE public.identifiers (
    workspace_id uuid NOT NULL,
    hash bytea NOT NULL,
    kind text NOT NULL,
    recipient_id uuid NOT NULL,
    value bytea NOT NULL,
    email_domain text,
    source text NOT NULL,
    verified_at timestamp with time zone,
    first_seen_at timestamp with time zone NOT NULL,
    last_seen_at timestamp with time zone NOT NULL,
    match_hash bytea,
    health text DEFAULT 'ok'::text NOT NULL,
    health_reason text,
    health_at timestamp with time zone,
    platform text,
    push_provider text,
    app text,
    permission text,
    shared_at timestamp with time zone,
    watched_at timestamp with time zone,
    CONSTRAINT identifiers_app_check CHECK ((length(app) <= 128)),
    CONSTRAINT identifiers_check CHECK (((email_domain IS NULL) OR (kind = 'email'::text))),
    CONSTRAINT identifiers_check1 CHECK (((match_hash IS NULL) OR ((octet_length(match_hash) = 32) AND (kind = 'email'::text)))),
    CONSTRAINT identifiers_device_check CHECK (((kind = 'device'::text) OR ((platform IS NULL) AND (push_provider IS NULL) AND (app IS NULL) AND (permission IS NULL)))),
    CONSTRAINT identifiers_hash_check CHECK ((octet_length(hash) = 32)),
    CONSTRAINT identifiers_health_check CHECK ((health = ANY (ARRAY['ok'::text, 'soft_bouncing'::text, 'held'::text, 'invalid'::text, 'stale'::text]))),
    CONSTRAINT identifiers_health_reason_check CHECK ((length(health_reason) <= 200)),
    CONSTRAINT identifiers_kind_check CHECK (((kind = ANY (ARRAY['email'::text, 'phone'::text, 'external_id'::text, 'whatsapp'::text, 'device'::text, 'webpush'::text, 'wallet'::text, 'anonymous'::text])) OR (kind ~~ 'external:_%'::text))),
    CONSTRAINT identifiers_permission_check CHECK ((permission = ANY (ARRAY['granted'::text, 'denied'::text, 'provisional'::text]))),
    CONSTRAINT identifiers_platform_check CHECK ((platform = ANY (ARRAY['ios'::text, 'android'::text, 'web'::text]))),
    CONSTRAINT identifiers_push_provider_check CHECK ((push_provider = ANY (ARRAY['fcm'::text, 'apns'::text]))),
    CONSTRAINT identifiers_source_check CHECK ((length(source) <= 64))
)
WITH (fillfactor='90');

COMMENT ON COLUMN public.identifiers.hash IS 'HMAC of kind and value under the workspace side''s look-up key';

COMMENT ON COLUMN public.identifiers.value IS 'sealed with the data key of recipient_id';

COMMENT ON COLUMN public.identifiers.match_hash IS 'keyed hash of the mailbox an address belongs to, where it is written otherwise; never sent to, not unique';

COMMENT ON COLUMN public.identifiers.health_at IS 'when health last changed; null: it never did';

COMMENT ON COLUMN public.identifiers.shared_at IS 'since when too many persons use the device or browser; it then resolves to nobody';

COMMENT ON COLUMN public.identifiers.watched_at IS 'when a token or subscription was last looked at: last_seen_at by then; infinity: it need not be';

CREATE TABLE public.installation (
    one boolean DEFAULT true NOT NULL,
    install_id uuid NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT installation_one_check CHECK (one)
);

CREATE TABLE public.jobs (
    lane smallint NOT NULL,
    id bigint DEFAULT nextval('public.job_ids'::regclass) NOT NULL,
    workspace_id uuid NOT NULL,
    kind text NOT NULL,
    payload jsonb NOT NULL,
    tries integer DEFAULT 0 NOT NULL,
    lost boolean DEFAULT false NOT NULL,
    enqueued_at timestamp with time zone NOT NULL,
    lease_until timestamp with time zone,
    lease_token uuid,
    error text,
    CONSTRAINT jobs_check CHECK (((lease_until IS NULL) = (lease_token IS NULL)))
)
PARTITION BY LIST (lane);

CREATE TABLE public.jobs_bulk (
    lane smallint CONSTRAINT jobs_lane_not_null NOT NULL,
    id bigint DEFAULT nextval('public.job_ids'::regclass) CONSTRAINT jobs_id_not_null NOT NULL,
    workspace_id uuid CONSTRAINT jobs_workspace_id_not_null NOT NULL,
    kind text CONSTRAINT jobs_kind_not_null NOT NULL,
    payload jsonb CONSTRAINT jobs_payload_not_null NOT NULL,
    tries integer DEFAULT 0 CONSTRAINT jobs_tries_not_null NOT NULL,
    lost boolean DEFAULT false CONSTRAINT jobs_lost_not_null NOT NULL,
    enqueued_at timestamp with time zone CONSTRAINT jobs_enqueued_at_not_null NOT NULL,
    lease_until timestamp with time zone,
    lease_token uuid,
    error text,
    CONSTRAINT jobs_check CHECK (((lease_until IS NULL) = (lease_token IS NULL)))
)
WITH (fillfactor='60', vacuum_truncate='false', autovacuum_vacuum_cost_delay='0', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='20000', autovacuum_analyze_scale_factor='0', autovacuum_analyze_threshold='100000');

CREATE TABLE public.jobs_critical (
    lane smallint CONSTRAINT jobs_lane_not_null NOT NULL,
    id bigint DEFAULT nextval('public.job_ids'::regclass) CONSTRAINT jobs_id_not_null NOT NULL,
    workspace_id uuid CONSTRAINT jobs_workspace_id_not_null NOT NULL,
    kind text CONSTRAINT jobs_kind_not_null NOT NULL,
    payload jsonb CONSTRAINT jobs_payload_not_null NOT NULL,
    tries integer DEFAULT 0 CONSTRAINT jobs_tries_not_null NOT NULL,
    lost boolean DEFAULT false CONSTRAINT jobs_lost_not_null NOT NULL,
    enqueued_at timestamp with time zone CONSTRAINT jobs_enqueued_at_not_null NOT NULL,
    lease_until timestamp with time zone,
    lease_token uuid,
    error text,
    CONSTRAINT jobs_check CHECK (((lease_until IS NULL) = (lease_token IS NULL)))
)
WITH (fillfactor='60', vacuum_truncate='false', autovacuum_vacuum_cost_delay='0', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='20000', autovacuum_analyze_scale_factor='0', autovacuum_analyze_threshold='100000');

CREATE TABLE public.jobs_high (
    lane smallint CONSTRAINT jobs_lane_not_null NOT NULL,
    id bigint DEFAULT nextval('public.job_ids'::regclass) CONSTRAINT jobs_id_not_null NOT NULL,
    workspace_id uuid CONSTRAINT jobs_workspace_id_not_null NOT NULL,
    kind text CONSTRAINT jobs_kind_not_null NOT NULL,
    payload jsonb CONSTRAINT jobs_payload_not_null NOT NULL,
    tries integer DEFAULT 0 CONSTRAINT jobs_tries_not_null NOT NULL,
    lost boolean DEFAULT false CONSTRAINT jobs_lost_not_null NOT NULL,
    enqueued_at timestamp with time zone CONSTRAINT jobs_enqueued_at_not_null NOT NULL,
    lease_until timestamp with time zone,
    lease_token uuid,
    error text,
    CONSTRAINT jobs_check CHECK (((lease_until IS NULL) = (lease_token IS NULL)))
)
WITH (fillfactor='60', vacuum_truncate='false', autovacuum_vacuum_cost_delay='0', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='20000', autovacuum_analyze_scale_factor='0', autovacuum_analyze_threshold='100000');

CREATE TABLE public.jobs_normal (
    lane smallint CONSTRAINT jobs_lane_not_null NOT NULL,
    id bigint DEFAULT nextval('public.job_ids'::regclass) CONSTRAINT jobs_id_not_null NOT NULL,
    workspace_id uuid CONSTRAINT jobs_workspace_id_not_null NOT NULL,
    kind text CONSTRAINT jobs_kind_not_null NOT NULL,
    payload jsonb CONSTRAINT jobs_payload_not_null NOT NULL,
    tries integer DEFAULT 0 CONSTRAINT jobs_tries_not_null NOT NULL,
    lost boolean DEFAULT false CONSTRAINT jobs_lost_not_null NOT NULL,
    enqueued_at timestamp with time zone CONSTRAINT jobs_enqueued_at_not_null NOT NULL,
    lease_until timestamp with time zone,
    lease_token uuid,
    error text,
    CONSTRAINT jobs_check CHECK (((lease_until IS NULL) = (lease_token IS NULL)))
)
WITH (fillfactor='60', vacuum_truncate='false', autovacuum_vacuum_cost_delay='0', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='20000', autovacuum_analyze_scale_factor='0', autovacuum_analyze_threshold='100000');

CREATE TABLE public.keywords_received (
    workspace_id uuid NOT NULL,
    identifier_hash bytea NOT NULL,
    signal text NOT NULL,
    id uuid NOT NULL,
    recipient_id uuid NOT NULL,
    account_id uuid NOT NULL,
    channel text NOT NULL,
    sender text,
    language text NOT NULL,
    received_at timestamp with time zone NOT NULL,
    CONSTRAINT keywords_received_language_check CHECK (((length(language) >= 2) AND (length(language) <= 16))),
    CONSTRAINT keywords_received_sender_check CHECK (((length(sender) >= 1) AND (length(sender) <= 255))),
    CONSTRAINT keywords_received_signal_check CHECK ((signal = ANY (ARRAY['stop'::text, 'start'::text, 'help'::text])))
);

COMMENT ON TABLE public.keywords_received IS 'the last of each keyword from each number, for a day: it is answered once';

COMMENT ON COLUMN public.keywords_received.sender IS 'our number it was sent to, where the vendor says it';

CREATE TABLE public.ledger_heads (
    workspace_id uuid NOT NULL,
    log text NOT NULL,
    generation smallint NOT NULL,
    origin text NOT NULL,
    size bigint NOT NULL,
    frontier bytea NOT NULL,
    checkpoint text NOT NULL,
    public_key bytea NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    closed_at timestamp with time zone,
    CONSTRAINT ledger_heads_check CHECK ((octet_length(frontier) = (32 * bit_count((size)::bit(64))))),
    CONSTRAINT ledger_heads_generation_check CHECK ((generation >= 1)),
    CONSTRAINT ledger_heads_log_check CHECK ((log ~ '^[a-z][a-z_]{0,31}$'::text)),
    CONSTRAINT ledger_heads_public_key_check CHECK ((octet_length(public_key) = 32)),
    CONSTRAINT ledger_heads_size_check CHECK ((size >= 0))
)
WITH (fillfactor='50');

CREATE TABLE public.ledger_keys (
    workspace_id uuid NOT NULL,
    log text NOT NULL,
    generation smallint NOT NULL,
    from_size bigint NOT NULL,
    to_size bigint,
    public_key bytea NOT NULL,
    sealed bytea,
    created_at timestamp with time zone NOT NULL,
    retired_at timestamp with time zone,
    CONSTRAINT ledger_keys_check CHECK ((to_size >= from_size)),
    CONSTRAINT ledger_keys_check1 CHECK (((to_size IS NULL) = (retired_at IS NULL))),
    CONSTRAINT ledger_keys_check2 CHECK (((to_size IS NULL) = (sealed IS NOT NULL))),
    CONSTRAINT ledger_keys_public_key_check CHECK ((octet_length(public_key) = 32))
);

COMMENT ON COLUMN public.ledger_keys.to_size IS 'the last tree size it signed; null: it signs now';

COMMENT ON COLUMN public.ledger_keys.sealed IS 'gone with the key''s retirement: it signs nothing more';

CREATE TABLE public.ledger_leaves (
    workspace_id uuid NOT NULL,
    log text NOT NULL,
    generation smallint NOT NULL,
    index bigint NOT NULL,
    entry_id uuid NOT NULL,
    leaf bytea NOT NULL,
    CONSTRAINT ledger_leaves_index_check CHECK ((index >= 0))
);

CREATE TABLE public.ledger_published (
    workspace_id uuid NOT NULL,
    log text NOT NULL,
    generation smallint NOT NULL,
    size bigint NOT NULL,
    checkpoint text NOT NULL,
    policy bytea NOT NULL,
    published_at timestamp with time zone NOT NULL,
    CONSTRAINT ledger_published_policy_check CHECK ((octet_length(policy) = 32)),
    CONSTRAINT ledger_published_size_check CHECK ((size >= 0))
)
WITH (fillfactor='50');

COMMENT ON COLUMN public.ledger_published.checkpoint IS 'with the cosignatures that the policy asks for';

COMMENT ON COLUMN public.ledger_published.policy IS 'the digest of the policy that it satisfies';

CREATE TABLE public.ledger_tiles (
    workspace_id uuid NOT NULL,
    log text NOT NULL,
    generation smallint NOT NULL,
    level smallint NOT NULL,
    index bigint NOT NULL,
    hashes bytea NOT NULL,
    root bytea NOT NULL,
    CONSTRAINT ledger_tiles_hashes_check CHECK ((octet_length(hashes) = 8192)),
    CONSTRAINT ledger_tiles_index_check CHECK ((index >= 0)),
    CONSTRAINT ledger_tiles_level_check CHECK (((level >= 0) AND (level <= 7))),
    CONSTRAINT ledger_tiles_root_check CHECK ((octet_length(root) = 32))
);
ALTER TABLE ONLY public.ledger_tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;

CREATE TABLE public.ledger_witnesses (
    workspace_id uuid NOT NULL,
    log text NOT NULL,
    generation smallint NOT NULL,
    witness text NOT NULL,
    size bigint NOT NULL,
    cosigned_at timestamp with time zone,
    trouble text,
    trouble_since timestamp with time zone,
    CONSTRAINT ledger_witnesses_check CHECK (((trouble IS NULL) = (trouble_since IS NULL))),
    CONSTRAINT ledger_witnesses_size_check CHECK ((size >= 0))
)
WITH (fillfactor='50');

COMMENT ON COLUMN public.ledger_witnesses.witness IS 'its verifier key';

COMMENT ON COLUMN public.ledger_witnesses.size IS 'that of the last checkpoint it cosigned, as far as we know';

CREATE TABLE public.legal_holds (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    recipient_id uuid NOT NULL,
    reason text NOT NULL,
    set_by text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    until timestamp with time zone,
    released_by text,
    released_at timestamp with time zone,
    CONSTRAINT legal_holds_check CHECK (((released_by IS NULL) = (released_at IS NULL))),
    CONSTRAINT legal_holds_reason_check CHECK (((length(reason) >= 1) AND (length(reason) <= 500)))
);

CREATE TABLE public.link_codes (
    workspace_id uuid NOT NULL,
    recipient_id uuid NOT NULL,
    identifier_hash bytea NOT NULL,
    channel text NOT NULL,
    salt bytea NOT NULL,
    sent_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    tries smallint NOT NULL,
    day_at timestamp with time zone NOT NULL,
    day_sent smallint NOT NULL,
    message_id uuid,
    CONSTRAINT link_codes_day_sent_check CHECK ((day_sent > 0)),
    CONSTRAINT link_codes_identifier_hash_check CHECK ((length(identifier_hash) = 32)),
    CONSTRAINT link_codes_salt_check CHECK ((length(salt) = 16)),
    CONSTRAINT link_codes_tries_check CHECK ((tries >= 0))
);

COMMENT ON COLUMN public.link_codes.salt IS 'the code is derived from it under a key of the side: whoever reads the row has no code';

COMMENT ON COLUMN public.link_codes.day_at IS 'since when day_sent is counted';

COMMENT ON COLUMN public.link_codes.message_id IS 'what carries it; null: nothing yet';

CREATE TABLE public.link_keys (
    id bytea NOT NULL,
    workspace_id uuid NOT NULL,
    month text NOT NULL,
    wrapped bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT link_keys_id_check CHECK ((length(id) = 8)),
    CONSTRAINT link_keys_month_check CHECK ((month ~ '^\d{4}-\d{2}$'::text))
);

COMMENT ON TABLE public.link_keys IS 'sealed by the outer key itself, like signing keys: no epoch whose end would end the links in mail long sent';

COMMENT ON COLUMN public.link_keys.id IS 'random, and the first bytes of every token made with it';

CREATE TABLE public.merges (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    from_id uuid NOT NULL,
    into_id uuid NOT NULL,
    rule text NOT NULL,
    actor text NOT NULL,
    merged_at timestamp with time zone NOT NULL,
    undone_at timestamp with time zone,
    undone_by text,
    sealed bytea,
    identifiers bytea[] NOT NULL,
    recipients uuid[] NOT NULL,
    entries uuid[] NOT NULL,
    stated uuid[] NOT NULL,
    restated uuid[] NOT NULL,
    log_index bigint NOT NULL,
    CONSTRAINT merges_actor_check CHECK (((length(actor) >= 1) AND (length(actor) <= 64))),
    CONSTRAINT merges_check CHECK ((from_id <> into_id)),
    CONSTRAINT merges_check1 CHECK (((undone_at IS NULL) = (undone_by IS NULL))),
    CONSTRAINT merges_check2 CHECK ((cardinality(stated) = cardinality(restated))),
    CONSTRAINT merges_rule_check CHECK ((rule = ANY (ARRAY['requested'::text, 'address_attached'::text, 'review'::text, 'anonymous_to_known'::text, 'aliased'::text]))),
    CONSTRAINT merges_undone_by_check CHECK (((length(undone_by) >= 1) AND (length(undone_by) <= 64)))
);

COMMENT ON COLUMN public.merges.sealed IS 'reason, evidence and names of the fields taken, under the data key of into_id; null after erasure';

COMMENT ON COLUMN public.merges.identifiers IS 'hashes of the identifiers that moved';

COMMENT ON COLUMN public.merges.recipients IS 'who was part of from_id and became part of into_id with it';

COMMENT ON COLUMN public.merges.entries IS 'consent entries that counted for from_id and count for into_id since';

COMMENT ON COLUMN public.merges.stated IS 'consent entries that this merge added; each says again the entry of the same place in restated';

COMMENT ON COLUMN public.merges.log_index IS 'ordinal of the last consent entry of the two at the time; -1: none. What is later was said in between';

CREATE TABLE public.messages (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    recipient_id uuid NOT NULL,
    purpose text NOT NULL,
    status text NOT NULL,
    final boolean NOT NULL,
    reason text,
    step smallint NOT NULL,
    lane smallint NOT NULL,
    guarantee text NOT NULL,
    send_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    plan jsonb NOT NULL,
    decisions jsonb NOT NULL,
    tags text[] NOT NULL,
    metadata jsonb,
    content bytea NOT NULL
)
WITH (fillfactor='80');

CREATE TABLE public.notice_versions (
    workspace_id uuid NOT NULL,
    notice text NOT NULL,
    version text NOT NULL,
    id uuid NOT NULL,
    default_language text NOT NULL,
    texts jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    title text,
    purposes text[],
    published_at timestamp with time zone,
    published_by text,
    hash bytea,
    CONSTRAINT notice_versions_check CHECK ((texts ? default_language)),
    CONSTRAINT notice_versions_whole CHECK ((((published_at IS NULL) = (hash IS NULL)) AND ((published_at IS NULL) = (title IS NULL)) AND ((published_at IS NULL) = (purposes IS NULL)) AND ((published_at IS NULL) = (published_by IS NULL))))
);

CREATE TABLE public.notices (
    workspace_id uuid NOT NULL,
    key text NOT NULL,
    id uuid NOT NULL,
    title text NOT NULL,
    purposes text[] NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    retired_at timestamp with time zone
);

CREATE TABLE public.notices_served (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    notice text NOT NULL,
    version text NOT NULL,
    language text NOT NULL,
    recipient_id uuid,
    identifier_hash bytea,
    means text NOT NULL,
    source text NOT NULL,
    actor text NOT NULL,
    served_at timestamp with time zone NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    sealed bytea NOT NULL
);

CREATE TABLE public.page_settings (
    workspace_id uuid NOT NULL,
    settings jsonb NOT NULL,
    updated_at timestamp with time zone NOT NULL
);

CREATE TABLE public.privacy_settings (
    workspace_id uuid NOT NULL,
    settings jsonb NOT NULL,
    updated_at timestamp with time zone NOT NULL
);

COMMENT ON TABLE public.privacy_settings IS 'a side without a row has the default';

CREATE TABLE public.proof_openings (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    proof_id uuid NOT NULL,
    reason text NOT NULL,
    requested_by text NOT NULL,
    requested_at timestamp with time zone NOT NULL,
    approved_by text,
    approved_at timestamp with time zone,
    ends_at timestamp with time zone,
    CONSTRAINT proof_openings_check CHECK ((approved_by <> requested_by)),
    CONSTRAINT proof_openings_reason_check CHECK (((length(reason) >= 1) AND (length(reason) <= 500)))
);

CREATE TABLE public.published_logs (
    log_id bytea NOT NULL,
    workspace_id uuid NOT NULL,
    log text NOT NULL,
    published_at timestamp with time zone NOT NULL,
    CONSTRAINT published_logs_log_id_check CHECK ((octet_length(log_id) = 16))
);

COMMENT ON COLUMN public.published_logs.log_id IS 'as it stands in the origin, whatever the generation';

CREATE TABLE public.purposes (
    workspace_id uuid NOT NULL,
    key text NOT NULL,
    settings jsonb NOT NULL,
    used_at timestamp with time zone,
    archived_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT purposes_key_check CHECK ((((length(key) >= 1) AND (length(key) <= 64)) AND (key ~ '^[a-z0-9][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)*$'::text)))
);

COMMENT ON TABLE public.purposes IS 'beside the built-in ones; a row with the key of one of these is laid over it';

COMMENT ON COLUMN public.purposes.settings IS 'all that a purpose says, as the API writes it';

COMMENT ON COLUMN public.purposes.used_at IS 'when something was first decided, or asked to be sent, for it';

COMMENT ON COLUMN public.purposes.archived_at IS 'nothing new is sent for it; what was refused for it stays refused';

CREATE TABLE public.recipient_settings (
    workspace_id uuid NOT NULL,
    settings jsonb NOT NULL,
    updated_at timestamp with time zone NOT NULL
);

COMMENT ON TABLE public.recipient_settings IS 'a side without a row has the default';

CREATE TABLE public.recipient_traits (
    workspace_id uuid NOT NULL,
    recipient_id uuid NOT NULL,
    name text NOT NULL,
    value text NOT NULL,
    CONSTRAINT recipient_traits_name_check CHECK ((length(name) <= 64)),
    CONSTRAINT recipient_traits_value_check CHECK ((length(value) <= 256))
);

COMMENT ON TABLE public.recipient_traits IS 'of declared traits alone; deleted when a trait is declared no longer, and with the person';

CREATE TABLE public.recipient_versions (
    workspace_id uuid NOT NULL,
    recipient_id uuid NOT NULL,
    version integer NOT NULL,
    changed_at timestamp with time zone NOT NULL,
    source text NOT NULL,
    actor text NOT NULL,
    changed text[] NOT NULL,
    merged_into uuid,
    change bytea,
    CONSTRAINT recipient_versions_actor_check CHECK (((length(actor) >= 1) AND (length(actor) <= 64))),
    CONSTRAINT recipient_versions_check CHECK (((change IS NOT NULL) OR (version = 1) OR (merged_into IS NOT NULL))),
    CONSTRAINT recipient_versions_source_check CHECK (((length(source) >= 1) AND (length(source) <= 64))),
    CONSTRAINT recipient_versions_version_check CHECK ((version > 0))
);

COMMENT ON COLUMN public.recipient_versions.actor IS 'the key that asked for it, or where nobody did the source';

COMMENT ON COLUMN public.recipient_versions.changed IS 'names of our own fields, never of traits';

COMMENT ON COLUMN public.recipient_versions.merged_into IS 'whose it is from here on, its own id after a split; null: as before';

COMMENT ON COLUMN public.recipient_versions.change IS 'from and to, sealed with the data key of recipient_id; null where all that can be said follows from the present';

CREATE TABLE public.recipients (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    merged_into uuid NOT NULL,
    address_only boolean NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    locale text,
    time_zone text,
    traits bytea,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    erased_at timestamp with time zone,
    restricted_at timestamp with time zone,
    CONSTRAINT recipients_check CHECK (((erased_at IS NULL) OR ((traits IS NULL) AND (locale IS NULL) AND (time_zone IS NULL)))),
    CONSTRAINT recipients_locale_check CHECK ((length(locale) <= 64)),
    CONSTRAINT recipients_time_zone_check CHECK ((length(time_zone) <= 64)),
    CONSTRAINT recipients_version_check CHECK ((version > 0))
)
WITH (fillfactor='90');

COMMENT ON COLUMN public.recipients.merged_into IS 'its own id for a root; otherwise the root, never a recipient between';

COMMENT ON COLUMN public.recipients.address_only IS 'known only as an address that must not be written to; hidden from lists';

COMMENT ON COLUMN public.recipients.traits IS 'sealed with the person''s data key';

CREATE TABLE public.regulations (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    type text NOT NULL,
    state text NOT NULL,
    recipient_id uuid NOT NULL,
    recipient_ids uuid[] NOT NULL,
    requested_by text NOT NULL,
    verified_by text NOT NULL,
    options jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    execute_at timestamp with time zone NOT NULL,
    due_at timestamp with time zone NOT NULL,
    approved_by text,
    approved_at timestamp with time zone,
    cancelled_by text,
    cancelled_at timestamp with time zone,
    erased_at timestamp with time zone,
    done_at timestamp with time zone,
    overdue_at timestamp with time zone,
    systems jsonb NOT NULL,
    progress jsonb NOT NULL,
    certificate text,
    backups_expire_at timestamp with time zone,
    CONSTRAINT regulations_check CHECK (((approved_by IS NULL) = (approved_at IS NULL))),
    CONSTRAINT regulations_check1 CHECK (((cancelled_by IS NULL) = (cancelled_at IS NULL))),
    CONSTRAINT regulations_check2 CHECK (((certificate IS NULL) OR (state = 'done'::text))),
    CONSTRAINT regulations_requested_by_check CHECK (((length(requested_by) >= 1) AND (length(requested_by) <= 64))),
    CONSTRAINT regulations_state_check CHECK ((state = ANY (ARRAY['awaiting_approval'::text, 'scheduled'::text, 'blocked'::text, 'running'::text, 'in_force'::text, 'done'::text, 'cancelled'::text]))),
    CONSTRAINT regulations_type_check CHECK ((type = ANY (ARRAY['erase'::text, 'export'::text, 'restrict'::text, 'object'::text]))),
    CONSTRAINT regulations_verified_by_check CHECK (((length(verified_by) >= 1) AND (length(verified_by) <= 200)))
);

COMMENT ON COLUMN public.regulations.recipient_ids IS 'all ids of the person, the merge root first; once erased, those that were erased together';

COMMENT ON COLUMN public.regulations.overdue_at IS 'when the log said that the order is overdue';

COMMENT ON COLUMN public.regulations.systems IS 'what became of the order in each system that holds something about the person';

COMMENT ON COLUMN public.regulations.progress IS 'how far an erasure came, so that it goes on there after a crash';

CREATE TABLE public.retention (
    workspace_id uuid NOT NULL,
    callbacks_days integer,
    content_days integer,
    updated_at timestamp with time zone NOT NULL,
    proofs_days integer DEFAULT 1095 NOT NULL,
    proofs_by_purpose jsonb DEFAULT '{}'::jsonb NOT NULL,
    events_days integer DEFAULT 400,
    recipients_days integer,
    CONSTRAINT retention_callbacks_days_check CHECK ((callbacks_days > 0)),
    CONSTRAINT retention_content_days_check CHECK ((content_days > 0)),
    CONSTRAINT retention_events_days_check CHECK ((events_days > 0)),
    CONSTRAINT retention_proofs_days_check CHECK ((proofs_days >= 0)),
    CONSTRAINT retention_recipients_days_check CHECK ((recipients_days > 0))
);

COMMENT ON TABLE public.retention IS 'a side without a row has the default; a null is for ever';

CREATE TABLE public.retention_marks (
    workspace_id uuid NOT NULL,
    messages_to uuid,
    finals_to uuid,
    recipients_to uuid,
    round_at timestamp with time zone,
    ended jsonb
);

COMMENT ON COLUMN public.retention_marks.finals_to IS 'all messages up to this id are final';

COMMENT ON COLUMN public.retention_marks.recipients_to IS 'where the walk over recipients goes on; null: at the beginning';

COMMENT ON COLUMN public.retention_marks.round_at IS 'when the last round began';

COMMENT ON COLUMN public.retention_marks.ended IS 'what it ended, by kind';

CREATE TABLE public.reviews (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    kind text NOT NULL,
    state text NOT NULL,
    dedupe bytea NOT NULL,
    recipients uuid[] NOT NULL,
    source text NOT NULL,
    evidence bytea,
    seen integer NOT NULL,
    created_at timestamp with time zone NOT NULL,
    last_seen_at timestamp with time zone NOT NULL,
    decided_at timestamp with time zone,
    decided_by text,
    reason bytea,
    CONSTRAINT reviews_check CHECK (((decided_at IS NULL) = (state = 'open'::text))),
    CONSTRAINT reviews_check1 CHECK (((decided_by IS NULL) = (decided_at IS NULL))),
    CONSTRAINT reviews_decided_by_check CHECK (((length(decided_by) >= 1) AND (length(decided_by) <= 64))),
    CONSTRAINT reviews_dedupe_check CHECK ((length(dedupe) = 32)),
    CONSTRAINT reviews_kind_check CHECK (((length(kind) >= 1) AND (length(kind) <= 64))),
    CONSTRAINT reviews_seen_check CHECK ((seen > 0)),
    CONSTRAINT reviews_source_check CHECK (((length(source) >= 1) AND (length(source) <= 255))),
    CONSTRAINT reviews_state_check CHECK ((state = ANY (ARRAY['open'::text, 'accepted'::text, 'rejected'::text, 'superseded'::text])))
);

COMMENT ON COLUMN public.reviews.dedupe IS 'keyed hash of what is in conflict, so that bringing it again opens no second item';

COMMENT ON COLUMN public.reviews.recipients IS 'whom it concerns, less those who were erased';

COMMENT ON COLUMN public.reviews.evidence IS 'sealed under the data key of each of recipients, one over the other, in the order of their ids; null after erasure';

COMMENT ON COLUMN public.reviews.reason IS 'why it was decided so, sealed like evidence';

CREATE TABLE public.schema_migrations (
    number integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.signing_keys (
    kid text NOT NULL,
    public_key bytea NOT NULL,
    sealed bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    retired_at timestamp with time zone,
    CONSTRAINT signing_keys_public_key_check CHECK ((octet_length(public_key) = 32))
);

CREATE TABLE public.subject_keys (
    workspace_id uuid NOT NULL,
    subject_id uuid NOT NULL,
    epoch text NOT NULL,
    wrapped bytea,
    created_at timestamp with time zone NOT NULL,
    destroyed_at timestamp with time zone,
    CONSTRAINT subject_keys_check CHECK (((wrapped IS NULL) = (destroyed_at IS NOT NULL)))
);

CREATE TABLE public.trait_indexes (
    workspace_id uuid NOT NULL,
    name text NOT NULL,
    state text NOT NULL,
    declared_at timestamp with time zone NOT NULL,
    done_to uuid,
    CONSTRAINT trait_indexes_name_check CHECK ((length(name) <= 64)),
    CONSTRAINT trait_indexes_state_check CHECK ((state = ANY (ARRAY['building'::text, 'ready'::text, 'removing'::text])))
);

COMMENT ON COLUMN public.trait_indexes.declared_at IS 'when it was declared, or no longer';

COMMENT ON COLUMN public.trait_indexes.done_to IS 'the last recipient that building has looked at';

CREATE TABLE public.user_token_keys (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    name text,
    algorithm text NOT NULL,
    sealed bytea,
    public_key text,
    created_at timestamp with time zone NOT NULL,
    created_by text NOT NULL,
    revoked_at timestamp with time zone,
    CONSTRAINT user_token_keys_algorithm_check CHECK ((algorithm = ANY (ARRAY['HS256'::text, 'ES256'::text, 'EdDSA'::text]))),
    CONSTRAINT user_token_keys_check CHECK (((algorithm = 'HS256'::text) = (sealed IS NOT NULL))),
    CONSTRAINT user_token_keys_check1 CHECK (((algorithm = 'HS256'::text) = (public_key IS NULL))),
    CONSTRAINT user_token_keys_name_check CHECK ((length(name) <= 200))
);

CREATE TABLE public.vendor_blocks (
    workspace_id uuid NOT NULL,
    identifier_hash bytea NOT NULL,
    sender text NOT NULL,
    entry_id uuid,
    blocked_at timestamp with time zone NOT NULL
);

CREATE TABLE public.workspace_keys (
    workspace_id uuid NOT NULL,
    use text NOT NULL,
    epoch text NOT NULL,
    wrapped bytea NOT NULL,
    created_at timestamp with time zone NOT NULL
);

CREATE TABLE public.workspace_sides (
    workspace_id uuid NOT NULL,
    workspace uuid NOT NULL,
    mode text NOT NULL,
    CONSTRAINT workspace_sides_mode_check CHECK ((mode = ANY (ARRAY['live'::text, 'test'::text])))
);

CREATE TABLE public.workspaces (
    id uuid NOT NULL,
    name text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT workspaces_name_check CHECK (((length(name) >= 1) AND (length(name) <= 200)))
);

ALTER TABLE ONLY public.events ATTACH PARTITION public.events_default DEFAULT;

ALTER TABLE ONLY public.jobs ATTACH PARTITION public.jobs_bulk FOR VALUES IN ('3');

ALTER TABLE ONLY public.jobs ATTACH PARTITION public.jobs_critical FOR VALUES IN ('0');

ALTER TABLE ONLY public.jobs ATTACH PARTITION public.jobs_high FOR VALUES IN ('1');

ALTER TABLE ONLY public.jobs ATTACH PARTITION public.jobs_normal FOR VALUES IN ('2');

ALTER TABLE ONLY public.account_pacing
    ADD CONSTRAINT account_pacing_pkey PRIMARY KEY (workspace_id, account_id);

ALTER TABLE ONLY public.accounts
    ADD CONSTRAINT accounts_id_key UNIQUE (id);

ALTER TABLE ONLY public.accounts
    ADD CONSTRAINT accounts_pkey PRIMARY KEY (workspace_id, id);

ALTER TABLE ONLY public.api_key_usage
    ADD CONSTRAINT api_key_usage_pkey PRIMARY KEY (workspace_id, key_id, hour);

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_id_key UNIQUE (id);

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (workspace_id, id);

ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT attempts_pkey PRIMARY KEY (workspace_id, id);

ALTER TABLE ONLY public.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (workspace_id, id);

ALTER TABLE ONLY public.brands
    ADD CONSTRAINT brands_pkey PRIMARY KEY (workspace_id, key);

ALTER TABLE ONLY public.callbacks
    ADD CONSTRAINT callbacks_pkey PRIMARY KEY (workspace_id, id);

ALTER TABLE ONLY public.callbacks
    ADD CONSTRAINT callbacks_workspace_id_digest_key UNIQUE (workspace_id, digest);

ALTER TABLE ONLY public.confirmations
    ADD CONSTRAINT confirmations_pkey PRIMARY KEY (workspace_id, entry_id);

ALTER TABLE ONLY public.consent_entries
    ADD CONSTRAINT consent_entries_pkey PRIMARY KEY (workspace_id, id);

ALTER TABLE ONLY public.consent_entries
    ADD CONSTRAINT consent_entries_workspace_id_log_index_key UNIQUE (workspace_id, log_index);

ALTER TABLE ONLY public.consent_settings
    ADD CONSTRAINT consent_settings_pkey PRIMARY KEY (workspace_id);

ALTER TABLE ONLY public.dead_letters
    ADD CONSTRAINT dead_letters_pkey PRIMARY KEY (workspace_id, id);

ALTER TABLE ONLY public.delayed
    ADD CONSTRAINT delayed_pkey PRIMARY KEY (run_at, id);

ALTER TABLE ONLY public.epochs
    ADD CONSTRAINT epochs_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.erased_identifiers
    ADD CONSTRAINT erased_identifiers_pkey PRIMARY KEY (workspace_id, hash);

ALTER TABLE ONLY public.event_counts
    ADD CONSTRAINT event_counts_pkey PRIMARY KEY (type);

ALTER TABLE ONLY public.event_eras
    ADD CONSTRAINT event_eras_pkey PRIMARY KEY (era);

ALTER TABLE ONLY public.followers
    ADD CONSTRAINT followers_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.held_proofs
    ADD CONSTRAINT held_proofs_pkey PRIMARY KEY (workspace_id, id);

ALTER TABLE ONLY public.idempotency
    ADD CONSTRAINT idempotency_pkey PRIMARY KEY (workspace_id, scope);

ALTER TABLE ONLY public.identifier_claims
    ADD CONSTRAINT identifier_claims_pkey PRIMARY KEY (workspace_id, hash, recipient_id);

ALTER TABLE ONLY public.identifiers
    ADD CONSTRAINT identifiers_pkey PRIMARY KEY (workspace_id, hash);

ALTER TABLE ONLY public.installation
    ADD CONSTRAINT installation_pkey PRIMARY KEY (one);

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (lane, id);

ALTER TABLE ONLY public.jobs_bulk
    ADD CONSTRAINT jobs_bulk_pkey PRIMARY KEY (lane, id);

ALTER TABLE ONLY public.jobs_critical
    ADD CONSTRAINT jobs_critical_pkey PRIMARY KEY (lane, id);

ALTER TABLE ONLY public.jobs_high
    ADD CONSTRAINT jobs_high_pkey PRIMARY KEY (lane, id);

ALTER TABLE ONLY public.jobs_normal
    ADD CONSTRAINT jobs_normal_pkey PRIMARY KEY (lane, id);

ALTER TABLE ONLY public.keywords_received
    ADD CONSTRAINT keywords_received_pkey PRIMARY KEY (workspace_id, identifier_hash, signal);

ALTER TABLE ONLY public.keywords_received
    ADD CONSTRAINT keywords_received_workspace_id_id_key UNIQUE (workspace_id, id);

ALTER TABLE ONLY public.ledger_heads
    ADD CONSTRAINT ledger_heads_origin_key UNIQUE (origin);

ALTER TABLE ONLY public.ledger_heads
    ADD CONSTRAINT ledger_heads_pkey PRIMARY KEY (workspace_id, log, generation);

ALTER TABLE ONLY public.ledger_keys
    ADD CONSTRAINT ledger_keys_pkey PRIMARY KEY (workspace_id, log, generation, public_key);

ALTER TABLE ONLY public.ledger_leaves
    ADD CONSTRAINT ledger_leaves_entry UNIQUE (entry_id, workspace_id);

ALTER TABLE ONLY public.ledger_leaves
    ADD CONSTRAINT ledger_leaves_pkey PRIMARY KEY (workspace_id, log, generation, index);

ALTER TABLE ONLY public.ledger_published
    ADD CONSTRAINT ledger_published_pkey PRIMARY KEY (workspace_id, log, generation);

ALTER TABLE ONLY public.ledger_tiles
    ADD CONSTRAINT ledger_tiles_pkey PRIMARY KEY (workspace_id, log, generation, level, index);

ALTER TABLE ONLY public.ledger_witnesses
    ADD CONSTRAINT ledger_witnesses_pkey PRIMARY KEY (workspace_id, log, generation, witness);

ALTER TABLE ONLY public.legal_holds
    ADD CONSTRAINT legal_holds_pkey PRIMARY KEY (workspace_id, id);

ALTER TABLE ONLY public.link_codes
    ADD CONSTRAINT link_codes_pkey PRIMARY KEY (workspace_id, recipient_id, identifier_hash, channel);

ALTER TABLE ONLY public.link_keys
    ADD CONSTRAINT link_keys_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.link_keys
    ADD CONSTRAINT link_keys_workspace_id_month_key UNIQUE (workspace_id, month);

ALTER TABLE ONLY public.merges
    ADD CONSTRAINT merges_pkey PRIMARY KEY (workspace_id, id);

ALTER TABLE ONLY public.messages
    ADD CONSTRAINT messages_pkey PRIMARY KEY (workspace_id, id);

ALTER TABLE ONLY public.notice_versions
    ADD CONSTRAINT notice_versions_pkey PRIMARY KEY (workspace_id, notice, version);

ALTER TABLE ONLY public.notice_versions
    ADD CONSTRAINT notice_versions_workspace_id_id_key UNIQUE (workspace_id, id);

ALTER TABLE ONLY public.notices
    ADD CONSTRAINT notices_pkey PRIMARY KEY (workspace_id, key);

ALTER TABLE ONLY public.notices_served
    ADD CONSTRAINT notices_served_pkey PRIMARY KEY (workspace_id, id);

ALTER TABLE ONLY public.notices
    ADD CONSTRAINT notices_workspace_id_id_key UNIQUE (workspace_id, id);

ALTER TABLE ONLY public.page_settings
    ADD CONSTRAINT page_settings_pkey PRIMARY KEY (workspace_id);

ALTER TABLE ONLY public.privacy_settings
    ADD CONSTRAINT privacy_settings_pkey PRIMARY KEY (workspace_id);

ALTER TABLE ONLY public.proof_openings
    ADD CONSTRAINT proof_openings_pkey PRIMARY KEY (workspace_id, id);

ALTER TABLE ONLY public.published_logs
    ADD CONSTRAINT published_logs_pkey PRIMARY KEY (log_id);

ALTER TABLE ONLY public.published_logs
    ADD CONSTRAINT published_logs_workspace_id_log_key UNIQUE (workspace_id, log);

ALTER TABLE ONLY public.purposes
    ADD CONSTRAINT purposes_pkey PRIMARY KEY (workspace_id, key);

ALTER TABLE ONLY public.recipient_settings
    ADD CONSTRAINT recipient_settings_pkey PRIMARY KEY (workspace_id);

ALTER TABLE ONLY public.recipient_traits
    ADD CONSTRAINT recipient_traits_pkey PRIMARY KEY (workspace_id, recipient_id, name);

ALTER TABLE ONLY public.recipient_versions
    ADD CONSTRAINT recipient_versions_pkey PRIMARY KEY (workspace_id, recipient_id, version);

ALTER TABLE ONLY public.recipients
    ADD CONSTRAINT recipients_pkey PRIMARY KEY (workspace_id, id);

ALTER TABLE ONLY public.regulations
    ADD CONSTRAINT regulations_pkey PRIMARY KEY (workspace_id, id);

ALTER TABLE ONLY public.retention_marks
    ADD CONSTRAINT retention_marks_pkey PRIMARY KEY (workspace_id);

ALTER TABLE ONLY public.retention
    ADD CONSTRAINT retention_pkey PRIMARY KEY (workspace_id);

ALTER TABLE ONLY public.reviews
    ADD CONSTRAINT reviews_pkey PRIMARY KEY (workspace_id, id);

ALTER TABLE ONLY public.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public.signing_keys
    ADD CONSTRAINT signing_keys_pkey PRIMARY KEY (kid);

ALTER TABLE ONLY public.subject_keys
    ADD CONSTRAINT subject_keys_pkey PRIMARY KEY (workspace_id, subject_id);

ALTER TABLE ONLY public.trait_indexes
    ADD CONSTRAINT trait_indexes_pkey PRIMARY KEY (workspace_id, name);

ALTER TABLE ONLY public.user_token_keys
    ADD CONSTRAINT user_token_keys_pkey PRIMARY KEY (workspace_id, id);

ALTER TABLE ONLY public.vendor_blocks
    ADD CONSTRAINT vendor_blocks_pkey PRIMARY KEY (workspace_id, identifier_hash, sender);

ALTER TABLE ONLY public.workspace_keys
    ADD CONSTRAINT workspace_keys_pkey PRIMARY KEY (workspace_id, use);

ALTER TABLE ONLY public.workspace_sides
    ADD CONSTRAINT workspace_sides_pkey PRIMARY KEY (workspace_id);

ALTER TABLE ONLY public.workspace_sides
    ADD CONSTRAINT workspace_sides_workspace_mode_key UNIQUE (workspace, mode);

ALTER TABLE ONLY public.workspaces
    ADD CONSTRAINT workspaces_name_key UNIQUE (name);

ALTER TABLE ONLY public.workspaces
    ADD CONSTRAINT workspaces_pkey PRIMARY KEY (id);

CREATE UNIQUE INDEX accounts_one_simulated ON public.accounts USING btree (workspace_id, provider) WHERE simulated;

CREATE INDEX attempts_by_message ON public.attempts USING btree (workspace_id, message_id);

CREATE INDEX attempts_by_vendor_id ON public.attempts USING btree (workspace_id, provider_message_id, account_id) WHERE (provider_message_id IS NOT NULL);

CREATE INDEX attempts_in_flight ON public.attempts USING btree (workspace_id, recipient_id) WHERE (state = 'started'::text);

CREATE INDEX attempts_in_flight_by_address ON public.attempts USING btree (workspace_id, identifier) WHERE (state = 'started'::text);

CREATE UNIQUE INDEX audit_log ON public.audit USING btree (workspace_id, log_generation, log_index) WHERE (log_index IS NOT NULL);

CREATE INDEX audit_unlogged ON public.audit USING btree (workspace_id, id) WHERE (log_index IS NULL);

CREATE UNIQUE INDEX brands_one_default ON public.brands USING btree (workspace_id) WHERE is_default;

CREATE INDEX callbacks_of_person ON public.callbacks USING btree (workspace_id, recipient_id, id) WHERE (recipient_id IS NOT NULL);

CREATE INDEX confirmations_due ON public.confirmations USING btree (expires_at);

CREATE INDEX confirmations_of_address ON public.confirmations USING btree (workspace_id, identifier_hash);

CREATE INDEX confirmations_of_person ON public.confirmations USING btree (workspace_id, recipient_id);

CREATE INDEX consent_entries_ended_by ON public.consent_entries USING btree (workspace_id, ended_by) WHERE (ended_by IS NOT NULL);

CREATE INDEX consent_entries_history ON public.consent_entries USING btree (workspace_id, recipient_id, log_index);

CREATE INDEX consent_entries_of_identifier ON public.consent_entries USING btree (workspace_id, identifier_hash) WHERE standing;

CREATE INDEX consent_entries_of_person ON public.consent_entries USING btree (workspace_id, recipient_id) WHERE standing;

CREATE UNIQUE INDEX consent_entries_one_grant ON public.consent_entries USING btree (workspace_id, recipient_id, identifier_hash, channel, purpose) WHERE (standing AND (strength = 0));

CREATE INDEX consent_entries_restrictions ON public.consent_entries USING btree (workspace_id, log_index) WHERE (standing AND (strength > 0));

CREATE INDEX events_by_message ON ONLY public.events USING btree (workspace_id, message_id) WHERE (message_id IS NOT NULL);

CREATE INDEX events_by_workspace ON ONLY public.events USING btree (workspace_id, era, txid, "position");

CREATE INDEX events_in_order ON ONLY public.events USING btree (era, txid, "position");

CREATE INDEX events_default_era_txid_position_idx ON public.events_default USING btree (era, txid, "position");

CREATE INDEX events_default_workspace_id_era_txid_position_idx ON public.events_default USING btree (workspace_id, era, txid, "position");

CREATE INDEX events_default_workspace_id_message_id_idx ON public.events_default USING btree (workspace_id, message_id) WHERE (message_id IS NOT NULL);

CREATE INDEX held_proofs_until ON public.held_proofs USING btree (held_until, workspace_id, id) WHERE (destroyed_at IS NULL);

CREATE INDEX idempotency_expiry ON public.idempotency USING btree (expires_at);

CREATE INDEX identifiers_mailbox ON public.identifiers USING btree (workspace_id, match_hash) WHERE (match_hash IS NOT NULL);

CREATE UNIQUE INDEX identifiers_one_external_id ON public.identifiers USING btree (workspace_id, recipient_id) WHERE (kind = 'external_id'::text);

CREATE INDEX identifiers_recipient ON public.identifiers USING btree (recipient_id, workspace_id);

CREATE INDEX identifiers_silent ON public.identifiers USING btree (workspace_id, COALESCE(watched_at, first_seen_at)) WHERE (kind = ANY (ARRAY['device'::text, 'webpush'::text]));

CREATE INDEX keywords_received_at ON public.keywords_received USING btree (workspace_id, received_at);

CREATE UNIQUE INDEX ledger_heads_open ON public.ledger_heads USING btree (workspace_id, log) WHERE (closed_at IS NULL);

CREATE UNIQUE INDEX ledger_keys_current ON public.ledger_keys USING btree (workspace_id, log, generation) WHERE (to_size IS NULL);

CREATE INDEX legal_holds_standing ON public.legal_holds USING btree (workspace_id, recipient_id) WHERE (released_at IS NULL);

CREATE INDEX link_codes_due ON public.link_codes USING btree (day_at);

CREATE INDEX link_codes_of_address ON public.link_codes USING btree (workspace_id, identifier_hash);

CREATE INDEX merges_from ON public.merges USING btree (workspace_id, from_id);

CREATE INDEX merges_into ON public.merges USING btree (workspace_id, into_id);

CREATE UNIQUE INDEX merges_one_open ON public.merges USING btree (workspace_id, from_id) WHERE (undone_at IS NULL);

CREATE INDEX messages_by_recipient ON public.messages USING btree (workspace_id, recipient_id, id);

CREATE INDEX notices_served_of_identifier ON public.notices_served USING btree (workspace_id, identifier_hash) WHERE (identifier_hash IS NOT NULL);

CREATE INDEX notices_served_of_notice ON public.notices_served USING btree (workspace_id, notice, id);

CREATE INDEX notices_served_of_person ON public.notices_served USING btree (workspace_id, recipient_id, id) WHERE (recipient_id IS NOT NULL);

CREATE INDEX recipient_settings_by_time ON public.recipient_settings USING btree (updated_at);

CREATE INDEX recipient_traits_value ON public.recipient_traits USING btree (workspace_id, name, value, recipient_id);

CREATE INDEX recipients_merged ON public.recipients USING btree (workspace_id, merged_into) WHERE (merged_into <> id);

CREATE INDEX recipients_restricted ON public.recipients USING btree (workspace_id, id) WHERE (restricted_at IS NOT NULL);

CREATE INDEX regulations_of_person ON public.regulations USING gin (recipient_ids);

CREATE INDEX regulations_open ON public.regulations USING btree (due_at, workspace_id, id) WHERE (state = ANY (ARRAY['awaiting_approval'::text, 'scheduled'::text, 'blocked'::text, 'running'::text]));

CREATE INDEX reviews_recipients ON public.reviews USING gin (recipients);

CREATE UNIQUE INDEX reviews_standing ON public.reviews USING btree (workspace_id, dedupe) WHERE ((state = 'open'::text) OR ((state = 'rejected'::text) AND (kind <> 'unclear_reply'::text)));

CREATE UNIQUE INDEX signing_keys_current ON public.signing_keys USING btree (((retired_at IS NULL))) WHERE (retired_at IS NULL);

CREATE INDEX trait_indexes_waiting ON public.trait_indexes USING btree (declared_at) WHERE (state <> 'ready'::text);

ALTER INDEX public.events_in_order ATTACH PARTITION public.events_default_era_txid_position_idx;

ALTER INDEX public.events_by_workspace ATTACH PARTITION public.events_default_workspace_id_era_txid_position_idx;

ALTER INDEX public.events_by_message ATTACH PARTITION public.events_default_workspace_id_message_id_idx;

ALTER INDEX public.jobs_pkey ATTACH PARTITION public.jobs_bulk_pkey;

ALTER INDEX public.jobs_pkey ATTACH PARTITION public.jobs_critical_pkey;

ALTER INDEX public.jobs_pkey ATTACH PARTITION public.jobs_high_pkey;

ALTER INDEX public.jobs_pkey ATTACH PARTITION public.jobs_normal_pkey;

CREATE TRIGGER notice_versions_published BEFORE DELETE OR UPDATE ON public.notice_versions FOR EACH ROW WHEN ((old.published_at IS NOT NULL)) EXECUTE FUNCTION public.refuse_change_of_published();

ALTER TABLE ONLY public.account_pacing
    ADD CONSTRAINT account_pacing_workspace_id_account_id_fkey FOREIGN KEY (workspace_id, account_id) REFERENCES public.accounts(workspace_id, id);

ALTER TABLE ONLY public.api_key_usage
    ADD CONSTRAINT api_key_usage_workspace_id_key_id_fkey FOREIGN KEY (workspace_id, key_id) REFERENCES public.api_keys(workspace_id, id);

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_workspace_id_fkey FOREIGN KEY (workspace_id) REFERENCES public.workspace_sides(workspace_id);

ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT attempts_workspace_id_message_id_fkey FOREIGN KEY (workspace_id, message_id) REFERENCES public.messages(workspace_id, id);

ALTER TABLE ONLY public.identifiers
    ADD CONSTRAINT identifiers_workspace_id_recipient_id_fkey FOREIGN KEY (workspace_id, recipient_id) REFERENCES public.recipients(workspace_id, id);

ALTER TABLE ONLY public.ledger_keys
    ADD CONSTRAINT ledger_keys_workspace_id_log_generation_fkey FOREIGN KEY (workspace_id, log, generation) REFERENCES public.ledger_heads(workspace_id, log, generation);

ALTER TABLE ONLY public.ledger_published
    ADD CONSTRAINT ledger_published_workspace_id_log_generation_fkey FOREIGN KEY (workspace_id, log, generation) REFERENCES public.ledger_heads(workspace_id, log, generation);

ALTER TABLE ONLY public.ledger_witnesses
    ADD CONSTRAINT ledger_witnesses_workspace_id_log_generation_fkey FOREIGN KEY (workspace_id, log, generation) REFERENCES public.ledger_heads(workspace_id, log, generation);

ALTER TABLE ONLY public.legal_holds
    ADD CONSTRAINT legal_holds_workspace_id_recipient_id_fkey FOREIGN KEY (workspace_id, recipient_id) REFERENCES public.recipients(workspace_id, id);

ALTER TABLE ONLY public.merges
    ADD CONSTRAINT merges_workspace_id_from_id_fkey FOREIGN KEY (workspace_id, from_id) REFERENCES public.recipients(workspace_id, id);

ALTER TABLE ONLY public.merges
    ADD CONSTRAINT merges_workspace_id_into_id_fkey FOREIGN KEY (workspace_id, into_id) REFERENCES public.recipients(workspace_id, id);

ALTER TABLE ONLY public.notice_versions
    ADD CONSTRAINT notice_versions_workspace_id_notice_fkey FOREIGN KEY (workspace_id, notice) REFERENCES public.notices(workspace_id, key);

ALTER TABLE ONLY public.proof_openings
    ADD CONSTRAINT proof_openings_workspace_id_proof_id_fkey FOREIGN KEY (workspace_id, proof_id) REFERENCES public.held_proofs(workspace_id, id);

ALTER TABLE ONLY public.recipients
    ADD CONSTRAINT recipients_workspace_id_merged_into_fkey FOREIGN KEY (workspace_id, merged_into) REFERENCES public.recipients(workspace_id, id);

ALTER TABLE ONLY public.user_token_keys
    ADD CONSTRAINT user_token_keys_workspace_id_fkey FOREIGN KEY (workspace_id) REFERENCES public.workspace_sides(workspace_id);

ALTER TABLE ONLY public.workspace_sides
    ADD CONSTRAINT workspace_sides_workspace_fkey FOREIGN KEY (workspace) REFERENCES public.workspaces(id);
