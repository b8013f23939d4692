"""Webhooks. Receive: vendor callbacks in, verified, kept raw, turned into evidence and decisions.

Owns `callbacks`. Appends `inbound.received`, `callback.unmatched` and `signal.refused`. Jobs: `callback.normalise`.
"""
