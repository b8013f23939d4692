"""HTTP for what lies below access and so cannot have routes of its own: the ledger, the event log, jobs.

Owns no tables and appends no events.
"""
