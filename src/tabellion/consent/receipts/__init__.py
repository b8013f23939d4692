"""Receipts: what a person is given to prove, without us, that their decision was recorded.

Owns no tables and appends no events; a receipt that discloses its record is audited.
"""
