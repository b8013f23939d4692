"""The ledger: what was recorded, when, in an order nobody can rewrite unseen.

Every workspace side has its own logs (`consent`, `audit`): Merkle trees as RFC 9162 hashes them, with a signed head
(C2SP signed-note, tlog-checkpoint) that commits together with the entries. A leaf is a commitment and a day; what was
committed to, and about whom, is known only to the domain that appends it.

Owns the tables `ledger_heads`, `ledger_keys`, `ledger_leaves`, `ledger_tiles`, `published_logs`, and the checkpoint
files in the keys folder. Appends no events. `merkle.py` and `note.py` import nothing of ours, so that a verifier can
be built on them.
"""
