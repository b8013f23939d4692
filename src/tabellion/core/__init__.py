"""What every domain stands on and what knows no domain: clock, ids, crypto, vault, http, db, batching, config, errors,
log, telemetry. Only the vault owns tables (`installation`, `workspace_keys`, `subject_keys`).
"""
