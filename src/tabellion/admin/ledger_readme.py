"""README.txt of a copy of a log: what the files are, for an auditor who knows nothing of us."""

from typing import Final

README: Final = """\
What this is
============

A copy of a log: a list of entries that can only grow, and a signature by which anybody can tell that nothing in it was
changed, dropped, inserted or moved. It can be checked without the system it came from, and without trusting it.

An entry says a commitment, its kind and a day. It names nobody. What was recorded about a person is shown by a receipt,
which only whoever may see it gets.


The files
=========

checkpoint        The signed head: name of the log, number of entries, hash over all of them, signatures.
tile/entries/     The entries, 256 a file, each after its length in two bytes.
tile/0/, 1/, ...  The hashes of the tree over them, 256 a file (C2SP tlog-tiles).
keys.json         The keys the log was signed with, and the numbers of entries between which each signed.
keys.txt          The same keys, a line each. DO NOT TRUST THEM BECAUSE THEY LIE HERE: compare them with those that you
                  got from the operator by another way.
checkpoints/      Heads that were signed before, where they were kept.
previous          If this log goes on for another that was lost: the last head of that one.
generations/      That one, as far as it is still there: a log by itself, to be checked like this one.
notices/          The texts that people agreed to.
SHA256SUMS        The SHA-256 of each file: sha256sum -c SHA256SUMS
manifest.json     When and by whom this was made, and the SHA-256 of SHA256SUMS.
manifest.jws      The same, signed (JWS, Ed25519). jwks.json holds the keys; the hub shows them at
                  /.well-known/jwks.json.


How to check it
===============

    tabellion ledger verify --key KEY --from .

or, with `ledger/merkle.py`, `ledger/note.py` and the folder `ledger/verifier` of the system's source, to be read in a
day, and the Python package `cryptography`:

    python -m tabellion.ledger.verifier log . --key KEY

Give it a checkpoint that you kept from before (--since FILE): then it also shows that nothing that was there then is
missing or different now. Keep this one for the next time.
"""
