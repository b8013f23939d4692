"""What people agreed to: purposes, decisions, verdicts, vendor blocks.

Tables: `consent_entries`, `vendor_blocks`. Events: `consent.granted`, `consent.asserted`, `consent.denied`,
`consent.withdrawn`, `consent.objected`, `consent.pending`, `consent.refused` (kept in the ledger, not in force),
`consent.ignored` (not kept). How the state follows from the entries:
`docs/decisions/0004-consent-state.md`.
"""
