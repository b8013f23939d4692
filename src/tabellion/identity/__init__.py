"""Identity: merge, split, the explained identity, and the review queue; the HTTP routes of recipients, because they may
merge.

Tables: `merges`, `reviews`. Events: `recipient.merged` (of an attached address it is recipients' own),
`recipient.split`, `review.opened`, `review.accepted`, `review.rejected`, `review.superseded`. What follows from each:
`docs/decisions/0006-merge-and-split.md`, `docs/decisions/0011-review-queue.md`; when a merge happens by itself:
`docs/decisions/0012-resolution.md`.
"""
