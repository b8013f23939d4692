"""Witnesses: others who sign that the log they see only ever grew, so that nobody is shown another log than the rest.

Both sides of C2SP tlog-witness (v1.0.0 and its text of 2026-07-06, read 2026-11-28; https://c2sp.org/tlog-witness): the
hub asks the witnesses of its policy and publishes what enough of them cosigned, and a witness, of its own or inside a
hub, cosigns the logs it was told to trust.

Owns the tables `ledger_published` and `ledger_witnesses`; a witness keeps its state in a folder of its own. Appends no
events. `policy.py` imports `note.py` and the standard library only, so that a verifier can be built on it.
"""
