"""The event log: one entry for each thing that happened, in one order, kept by day; and those who follow it.

Owns `events`, `event_eras`, `followers`, `event_counts`. Whoever appends does so in the transaction that did the thing.
"""
