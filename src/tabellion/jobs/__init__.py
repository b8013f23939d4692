"""The outbox: work enqueued in the caller's transaction, done at least once, in lanes, with leases and dead letters.

Owns `jobs` (a partition a lane), `delayed`, `dead_letters` and the sequence `job_ids`; appends no events.
"""
