"""The demo's independent auditor agrees with the ledger, and is not easily told something untrue."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabellion.app.demo import audit
from tabellion.app.demo.story import Untrue
from tabellion.ledger import merkle
from tabellion.ledger.note import Checkpoint, Signer

SIGNER = Signer.of("tabellion.log/ab/cd/1", bytes(32))
OTHER = Signer.of("tabellion.log/ab/cd/1", bytes(31) + b"\x01")
NOTE = SIGNER.sign(Checkpoint(SIGNER.name, 7, bytes(range(32))).text())
KEYS = f"{OTHER.verifier.line()}\n{SIGNER.verifier.line()}\n"


@given(st.lists(st.binary(max_size=40), max_size=40))
def test_its_root_is_the_ledgers(leaves: list[bytes]) -> None:
    assert audit.tree_root(leaves) == merkle.root(map(merkle.leaf_hash, leaves))


def test_a_head_is_read_under_the_newest_key() -> None:
    assert audit.signed_head(NOTE, KEYS) == audit.Head(SIGNER.name, 7, bytes(range(32)))


@pytest.mark.parametrize(
    ("note", "keys"),
    [
        (NOTE.replace("\n7\n", "\n8\n"), KEYS),
        (NOTE, f"{OTHER.verifier.line()}\n"),
        (NOTE, KEYS.replace(SIGNER.verifier.line()[-12:], OTHER.verifier.line()[-12:])),
    ],
    ids=["another size", "another key", "a key that is not its id"],
)
def test_what_the_key_did_not_sign_is_untrue(note: str, keys: str) -> None:
    with pytest.raises(Untrue):
        audit.signed_head(note, keys)
