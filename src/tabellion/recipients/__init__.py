"""Recipients: the canonical record of a person, and the identifiers that resolve to it.

Owns `recipients` and `identifiers`. Appends `recipient.created`, `recipient.updated`, `recipient.merged` and
`identifier.added`; no event carries an address. Values and traits are sealed with the person's data key; what is
looked up is a keyed hash. Its HTTP routes are `identity`'s.
"""
