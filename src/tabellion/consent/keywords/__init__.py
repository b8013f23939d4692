"""What a person who writes back means: STOP, START and HELP in their languages, and replies that refuse less clearly.

Owns `keywords_received`. Appends `keyword.received`. What such a word does to consent is for `consent/rules.py`; that
it is answered, for `messages/`. Why so: `docs/decisions/0017-stop-and-start.md`.
"""
