"""Notices: the texts that people are shown before they decide, their versions, and what was shown to whom.

Tables: `notices`, `notice_versions`, `notices_served`. Events: `notice.published`, `notice.retired`, `notice.served`
(to somebody who is known). What a decision that names a notice commits to: `docs/decisions/0016-notices.md`.
"""
