"""What people agreed to: purposes, decisions, verdicts, vendor blocks.

Tables: `consent_entries`, `vendor_blocks`. Events: `consent.granted`, `consent.asserted`, `consent.denied`,
`consent.withdrawn`, `consent.objected`, `consent.pending`, `consent.refused` (kept in the ledger, not in force),
`consent.ignored` (not kept), `consent.expired` (what a merge had stated, after a split; a grant whose identifier is no
longer the person's; what STOP had said, after START). How the state follows from the entries:
`docs/decisions/0004-consent-state.md`; through merges: `0006-merge-and-split.md`; with identifiers that change hands:
`0012-resolution.md`; of STOP and START: `0017-stop-and-start.md`.

Parts with tables of their own: `brands`, `keywords`, `purposes`, `settings`. What their policies add to an opt-out, and
who may loosen them: `0015-purposes-and-policies.md`.
"""
