"""Webhooks. Receive: vendor callbacks in, verified, kept raw, turned into evidence and decisions.

Owns `callbacks`. Appends `inbound.received` and `callback.unmatched`. Jobs: `callback.normalise`.
"""
