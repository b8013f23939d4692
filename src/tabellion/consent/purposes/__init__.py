"""Purposes of a side: why it communicates, and what each purpose asks for.

Table: `purposes`. The built-in ones are constants (`consent.types.BUILT_IN`); a row of the same key is laid over one.
Event: `purpose.changed`. Audited: `purpose.created`, `purpose.changed`, `purpose.loosened`, `purpose.archived`,
`purpose.deleted`. What may be loosened by whom, and why: `docs/decisions/0015-purposes-and-policies.md`.
"""
