"""What every domain stands on and what knows no domain: clock, ids, crypto, vault, http, db, batching, config, errors,
log, telemetry. Only the vault and its rotation own tables: `installation`, `workspace_keys`, `subject_keys`, `epochs`.
"""
