"""Identity: merge, split, conflicts and the review queue; the HTTP routes of recipients, because they may merge.

Owns no tables yet and appends no events: what its routes change is recipients' own.
"""
