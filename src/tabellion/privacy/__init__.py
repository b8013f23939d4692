"""Orders on people's data (erase, export, restrict, object), what is kept although somebody wants it gone, and for how
long everything else is kept.

Owns `regulations`, `privacy_settings`, `legal_holds`, `held_proofs`, `proof_openings`, `signing_keys`, `retention` and
`retention_marks`, and the journal in the keys folder. Appends `regulation.*`, `legal_hold.*`, `proof.destroyed` and
`retention.applied`. Above the domains that hold the data: each does its own part, this says when, and of whom.
"""
