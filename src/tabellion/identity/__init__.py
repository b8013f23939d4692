"""Identity: merge, split, and the explained identity; the HTTP routes of recipients, because they may merge.

Table: `merges`. Events: `recipient.merged` (of an attached address it is recipients' own) and `recipient.split`. What
follows from each: `docs/decisions/0006-merge-and-split.md`; when one happens by itself: `0012-resolution.md`.
"""
