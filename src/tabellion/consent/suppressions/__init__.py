"""Suppressions: the restrictions that are in force, as a list that is searched, added to, brought in and taken out.

No table is its own: a suppression is a standing entry of `consent_entries`, and whatever is added is a decision.
"""
