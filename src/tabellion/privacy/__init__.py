"""What is kept for how long. Owns the table `retention` and the event `retention.applied`.

Above the domains whose data ends: each does its own part, this says when.
"""
