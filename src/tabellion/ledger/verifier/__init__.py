"""The verifier: what an auditor runs who trusts a key and some files, and nothing else of ours.

`python -m tabellion.ledger.verifier` on this folder, `ledger/merkle.py` and `ledger/note.py` is all of it; beside them
it needs the standard library and `cryptography`, no database and no hub. Reads logs in the layout of C2SP tlog-tiles
(https://c2sp.org/tlog-tiles, read 2026-11-28) and receipts of C2SP tlog-proof (https://c2sp.org/tlog-proof, same day).

What it is given may have been made to deceive it: everything has a bound, nothing is unpacked, a path is made from
numbers only, and a log of any size is read in memory that does not grow.
"""
