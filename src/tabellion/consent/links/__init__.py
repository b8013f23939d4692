"""Links that recipients get: tokens, the confirmations waited for, the codes that prove an address.

Tables: `link_keys`, `confirmations`, `link_codes`. Events: `consent.code_requested` (somebody wants to turn something
on at an address, and proves it by a code), `consent.expired` with the reason `confirmation_expired`. What a token is
and what it survives: `docs/decisions/0018-recipient-pages.md`.
"""
