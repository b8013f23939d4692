"""What is kept for how long, and all that is held about one person, to give out.

Owns the tables `retention` and `retention_marks` and the event `retention.applied`. Above the domains that hold the
data: each does its own part, this says when, and of whom.
"""
