"""README.txt of an export: what the files are, in plain words, for the person they are about."""

from typing import Final

README: Final = """\
What this is
============

This is what was kept about you in the system that sends you messages (Tabellion). Programs can read these files;
with a text editor, you can too. Files that end in .json hold one record, those that end in .jsonl one record a line.


The files
=========

recipient.json    Who you are to the sender: addresses, numbers, devices, ids, language, time zone, and further facts
                  ("traits"). "health" says whether an address can be reached. "merged" are records that were found to
                  be about you as well. "vendor_blocks" are senders that may not write to a number of yours.
identity.json     Every id that stands for you, and each time two records were found to be one person, or not: when,
                  by whom, and why.
history.jsonl     Each change of your record, the newest first: when, by whom, from what to what.
consents.jsonl    Each decision about what may be sent to you: what you agreed to, refused or withdrew, when and how it
                  was said, and what shows it. "record" is what was entered into a log that nobody can change
                  unseen, at the place "log_index" (of the log "log", where it is not the first). "standing" says
                  whether the decision counts today.
notices.jsonl     Each text about consent that you were shown: which, in which language, when, where and how.
messages.jsonl    Each message to you: what it said ("content"), where it was to go ("steps"), what was tried
                  ("attempts"), what became of it ("status"), and why.
callbacks.jsonl   What the companies that deliver messages reported about you alone, as they wrote it: "body" in
                  base64, "text" where it is text.
events.jsonl      What happened with your record, your decisions and your messages, in order.
manifest.json     When this was made, for which ids, and for each file its length, its number of records and its
                  SHA-256, by which you can tell that nothing was changed.


How to read it
==============

Times are in UTC: 2026-11-21T09:00:00.000Z. Ids say what they stand for: rcp_ a person, msg_ a message, att_ one try to
deliver it, cns_ a decision, srv_ a text shown, evt_ something that happened, mrg_ a merge, acc_ an account with a
delivering company, cbk_ a report of one, key_ a program that works for the sender.

"content": null means that the words of a message are not kept any more. "withheld": true means that your record held
something of another person for a while, by mistake; it was given back, and is not repeated here.

Not in here: reports about several people at once (what they said about you is in events.jsonl), secrets of the sender,
keys of your devices, and what only finds a record without saying anything about you.
"""
