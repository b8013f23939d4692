"""Recipients: the canonical record of a person, and the identifiers that resolve to it.

Owns `recipients`, `identifiers`, `identifier_claims`, `recipient_versions`, `recipient_settings`, `recipient_traits`
and `trait_indexes`. Appends `recipient.created`, `recipient.updated`, `recipient.merged`, `recipient.field_refused`,
`recipient.device_permission_changed`, `identifier.added`, `identifier.verified`, `identifier.released` (it is another's
now), `identifier.shared` (nobody's), and of its health
`identifier.soft_bouncing`, `.held`, `.invalid`, `.stale` and `.recovered`; no event carries an address. Values, traits
and versions are sealed with the person's data key; what is looked up is a keyed hash. Its HTTP routes are `identity`'s.
"""
