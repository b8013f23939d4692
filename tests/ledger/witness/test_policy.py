import ast
import inspect
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabellion.ledger import note
from tabellion.ledger.note import Checkpoint, Cosigner, Signer
from tabellion.ledger.witness import policy
from tabellion.ledger.witness.policy import BadPolicy, Policy

COSIGNERS = [Cosigner.of(f"w.example/{number}", bytes([number]) * 32) for number in range(1, 7)]
KEYS = [one.witness for one in COSIGNERS]
X1, X2, X3, Y1, Y2, Y3 = (one.line() for one in KEYS)
LOG = Signer.of("example.org/log", bytes(32))
TWO_LEVELS = f"""
# who must have seen it
log {LOG.verifier.line()}  https://example.org/log
witness X1 {X1} https://w.example/1
 witness  X2\t{X2}
witness X3 {X3}
group X 2 X1 X2 X3

witness Y1 {Y1}
witness Y2 {Y2}
witness Y3 {Y3}
group Y any Y1 Y2 Y3
group both all X Y
quorum both
"""


def test_a_verifier_can_be_built_on_it() -> None:
    """It and `note.py` stand on the standard library, `cryptography` and each other."""
    for module in (policy, note):
        nodes = list(ast.walk(ast.parse(inspect.getsource(module))))
        names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
        foreign = {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"cryptography"}
        assert foreign <= {"tabellion"}
        assert {name for name in names if name.startswith("tabellion")} <= {"tabellion.ledger"}


def read(text: str) -> Policy:
    return policy.parse(text.encode())


def test_the_two_levels_of_the_specification() -> None:
    found = read(TWO_LEVELS)
    assert found.logs == (LOG.verifier,)
    assert [one.url for one in found.witnesses] == ["https://w.example/1", None, None, None, None, None]
    assert found.satisfied({KEYS[0], KEYS[2], KEYS[4]})
    assert not found.satisfied({KEYS[0], KEYS[4], KEYS[5]})
    assert not found.satisfied(KEYS[:3])
    assert found.satisfied(KEYS)


@given(st.integers(1, 6), st.sets(st.sampled_from(KEYS)))
def test_k_of_n_is_k_of_n(needed: int, cosigners: set[object]) -> None:
    lines = [f"witness w{number} {key.line()}" for number, key in enumerate(KEYS)]
    found = read("\n".join([*lines, f"group g {needed} w0 w1 w2 w3 w4 w5", "quorum g", ""]))
    assert found.satisfied(cosigners) == (len(cosigners) >= needed)  # type: ignore[arg-type]


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Any policy over the six witnesses: groups of what is not yet in a group, in any nesting."""
    free = [f"w{number}" for number in range(len(KEYS))]
    lines = [f"witness w{number} {key.line()}" for number, key in enumerate(KEYS)]
    for number in range(draw(st.integers(0, 4))):
        members = draw(st.lists(st.sampled_from(free), min_size=1, unique=True))
        lines.append(f"group g{number} {draw(st.integers(1, len(members)))} {' '.join(members)}")
        free = [name for name in free if name not in members] + [f"g{number}"]
    lines.append(f"quorum {draw(st.sampled_from(free))}")
    return read("\n".join(lines))


@given(policies(), st.sets(st.sampled_from(KEYS)), st.sets(st.sampled_from(KEYS)))
def test_one_more_cosigner_never_spoils_a_quorum(found: Policy, some: set[object], more: set[object]) -> None:
    assert found.satisfied(KEYS)
    assert not found.satisfied(set())
    if found.satisfied(some):  # type: ignore[arg-type]
        assert found.satisfied(some | more)  # type: ignore[arg-type]


@given(policies())
def test_strangers_count_for_nothing(found: Policy) -> None:
    assert not found.satisfied({Cosigner.of("w0", bytes(32)).witness})


def test_a_quorum_of_none_asks_for_nobody() -> None:
    assert read("quorum none\n").satisfied(set())
    assert read(f"witness w {X1}\nquorum none").satisfied(set())


def test_a_checkpoint_is_judged_by_its_cosignatures() -> None:
    found = read(f"witness one {X1}\nwitness two {X2}\ngroup g all one two\nquorum g\n")
    text = Checkpoint(LOG.name, 0, bytes(32)).text()
    signed = LOG.sign(text) + COSIGNERS[0].cosign(text, 9)
    assert not found.accepts(signed)
    assert found.accepts(signed + COSIGNERS[1].cosign(text, 9))
    other = Checkpoint(LOG.name, 1, bytes(32)).text()
    assert not found.accepts(signed + COSIGNERS[1].cosign(other, 9))


def test_the_digest_is_of_what_is_asked_for() -> None:
    one = read(f"witness w {X1} https://a.example\nquorum w\n")
    assert one.digest() == read(f"# moved\nwitness  w {X1} https://b.example\nquorum w\n").digest()
    assert one.digest() != read(f"witness w {X2} https://a.example\nquorum w\n").digest()
    assert one.digest() != read(f"witness w {X1} https://a.example\nquorum none\n").digest()


def test_names_are_octets() -> None:
    """A Kelvin sign is no K, and what is no UTF-8 is a name too."""
    kelvin = f"witness \N{KELVIN SIGN} {X1}\n".encode() + f"witness K {X2}\n".encode() + b"quorum K\n"
    assert policy.parse(kelvin).satisfied({KEYS[1]})
    assert not policy.parse(kelvin).satisfied({KEYS[0]})
    strange = b"witness \xff\xfe " + X1.encode() + b"\nquorum \xff\xfe\n"
    assert policy.parse(strange).satisfied({KEYS[0]})
    assert policy.parse(strange).digest()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no quorum"),
        ("quorum none\nquorum none\n", "one quorum line"),
        ("quorum w\n", "no line before"),
        (f"quorum w\nwitness w {X1}\n", "no line before"),
        (f"witness w {X1}\nwitness w {X2}\nquorum w\n", "taken"),
        (f"witness none {X1}\nquorum none\n", "taken"),
        (f"witness v {X1}\nwitness w {X1}\nquorum w\n", "another witness's"),
        (f"log {LOG.verifier.line()}\nlog {LOG.verifier.line()}\nquorum none\n", "another log's"),
        (f"witness w {LOG.verifier.line()}\nquorum w\n", "witness key"),
        (f"log {X1}\nquorum none\n", "log key"),
        (f"witness w {X1}\ngroup g 2 w\nquorum g\n", "from 1 to 1"),
        (f"witness w {X1}\ngroup g 0 w\nquorum g\n", "from 1 to 1"),
        (f"witness w {X1}\ngroup g 01 w\nquorum g\n", "from 1 to 1"),
        (f"witness w {X1}\ngroup g some w\nquorum g\n", "from 1 to 1"),
        (f"witness w {X1}\ngroup g all w w\nquorum g\n", "once only"),
        (f"witness w {X1}\ngroup g all w\ngroup h all w\nquorum g\n", "once only"),
        (f"witness w {X1}\ngroup g all none\nquorum g\n", "no line before"),
        (f"witness w {X1}\ngroup g all g\nquorum g\n", "no line before"),
        (f"witness w {X1}\ngroup g all\nquorum w\n", "a line is one of"),
        (f"witness w {X1} https://a.example more\nquorum w\n", "a line is one of"),
        ("wittness w\nquorum none\n", "line 1"),
        ("quorum none\r\n", "control characters"),
        ("quorum\u00a0none\n", "a line is one of"),
    ],
)
def test_what_the_format_does_not_allow_is_refused(text: str, said: str) -> None:
    with pytest.raises(BadPolicy, match=said):
        read(text)


WORDS = st.sampled_from(
    ["log", "witness", "group", "quorum", "none", "all", "any", "1", "2", "a", "b", "#", X1, X2, LOG.verifier.line()]
)


@given(st.lists(st.lists(WORDS, max_size=6), max_size=8), st.binary(max_size=40))
def test_a_file_is_a_policy_or_none(lines: list[list[str]], tail: bytes) -> None:
    """And one that is read answers anything that is asked of it."""
    for said in (tail, "\n".join(" ".join(line) for line in lines).encode() + b"\n" + tail):
        try:
            found = policy.parse(said)
        except BadPolicy:
            continue
        assert found.satisfied({one.key for one in found.witnesses})
        assert isinstance(found.accepts("no note"), bool)
        assert len(found.digest()) == 32


def test_groups_of_groups_take_no_longer_than_there_are_lines() -> None:
    """Each name is a member once at most: there is nothing to multiply."""
    lines = ["witness w0 " + KEYS[0].line(), *(f"group w{at + 1} any w{at}" for at in range(5_000)), "quorum w5000"]
    found = policy.parse("\n".join(lines).encode())
    assert found.satisfied({KEYS[0]})
    assert not found.satisfied(set())
