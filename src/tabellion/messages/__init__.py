"""Messages: one communication to one recipient, its plan, its attempts and what became of them.

Owns `messages` and `attempts`. Appends `message.*` and `attempt.*` events. Jobs: `message.deliver` (the gate, the
hand-off, the outcome), `message.step_timeout`. Follows the log to answer keywords (`keyword_replies`).
"""
