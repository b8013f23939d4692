"""What a side sets about consent as a whole: policies over its purposes and channels.

Table: `consent_settings`, one row a side. Audited: `consent_settings.set`, with what it loosened. A field of a part of
consent comes with its own line in `loosened`: what makes an opt-out reach less needs the compliance role.
"""
