"""The pages that people see: unsubscribe, preferences, confirm. No key: a token says whose they are and what they do.

Table: `page_settings`. Audited: `page_settings.set`. GET changes nothing; a form restricts at once, and grants only
with a code that was sent to the address. How and why: `docs/decisions/0018-recipient-pages.md`.
"""
