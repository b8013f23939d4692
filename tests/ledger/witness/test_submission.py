import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabellion.ledger.witness import submission
from tabellion.ledger.witness.submission import BadSubmission, Submission

HASH = base64.b64encode(bytes(32)).decode()


@given(st.integers(0, 2**60), st.lists(st.binary(min_size=32, max_size=32), max_size=63))
def test_a_body_survives_being_written_and_read(old: int, proof: list[bytes]) -> None:
    made = Submission(old, tuple(proof), "a\n3\nb\n\n— a sig\n")
    assert submission.parse(made.body()) == made


def test_the_form_is_that_of_the_specification() -> None:
    assert Submission(7, (bytes(32),), "note\n\n— a sig\n").body().decode() == f"old 7\n{HASH}\n\nnote\n\n— a sig\n"
    assert Submission(0, (), "note\n").body() == b"old 0\n\nnote\n"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 0\n",
        b"old 0\nnote\n",
        b"old 01\n\nnote\n",
        b"old -1\n\nnote\n",
        b"old  1\n\nnote\n",
        b"Old 1\n\nnote\n",
        b"old 99999999999999999999\n\nnote\n",
        b"old \xd9\xa3\n\nnote\n",
        b"old 1\nAAAA\n\nnote\n",
        b"old 1\n!\n\nnote\n",
        b"old 1\r\n\r\nnote\n",
        b"\xff\n\nnote\n",
        f"old 1\n{HASH}\n".encode() * 1 + (HASH + "\n").encode() * 63 + b"\nnote\n",
    ],
)
def test_a_malformed_body_is_refused(body: bytes) -> None:
    with pytest.raises(BadSubmission):
        submission.parse(body)
