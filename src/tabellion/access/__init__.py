"""Who may call, and what a call means: workspaces, API keys, roles, the audit trail, idempotency keys, the HTTP edge.

Tables: `workspaces`, `workspace_sides`, `api_keys`, `api_key_usage`, `audit`, `idempotency`. Appends no events: what
happens here is in the audit trail: the table, and each side's log `audit` in the ledger.
"""
