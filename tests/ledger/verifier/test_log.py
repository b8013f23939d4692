"""Whatever was done to a log's files, the verifier says so, and where."""

import base64
import hashlib
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from tabellion.ledger import note
from tabellion.ledger.verifier.report import Unusable

from .conftest import ORIGIN, Log, NewLog, leaf

SIZES = [0, 1, 2, 255, 256, 257, 511, 512, 1000, 65_536, 65_536 + 300]


@pytest.mark.parametrize("size", SIZES)
def test_a_sound_log_is_verified(new_log: NewLog, size: int) -> None:
    report = new_log(size).write().verified()
    assert (report.findings, report.code, report.facts["size"]) == ([], 0, size)
    assert f"all {size} entries lead to the signed root" in report.holds


def test_a_partial_tile_may_be_gone_once_the_full_one_is_there(new_log: NewLog) -> None:
    log = new_log(300).write()
    small = log.checkpoint()
    log.grown(300).write()
    for gone in ("tile/0/001.p/44", "tile/entries/001.p/44"):
        (log.folder / gone).unlink()
    log.put("checkpoint", small.encode())
    assert log.verified().findings == []


# entries and tiles


def changed(log: Log, index: int) -> None:
    log.entries[index] = leaf("changed")


def dropped(log: Log, index: int) -> None:
    del log.entries[index]
    log.entries.append(leaf("so that nobody counts"))


def inserted(log: Log, index: int) -> None:
    log.entries.insert(index, leaf("inserted"))
    log.entries.pop()


def reordered(log: Log, index: int) -> None:
    log.entries[index], log.entries[index + 1] = log.entries[index + 1], log.entries[index]


HARMS = [changed, dropped, inserted, reordered]


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("index", [0, 300, 598])
def test_an_entry_that_was_tampered_with_is_named(
    new_log: NewLog, harm: Callable[[Log, int], None], index: int
) -> None:
    log = new_log(600).write()
    harm(log, index)
    log.write_bundles()
    [found] = log.verified().findings
    assert (found.code, found.where) == ("entry_differs", {"first": index, "last": index})
    assert f"entry {index}" in found.text


def test_entries_and_their_tile_changed_together_are_narrowed_down_by_the_level_above(new_log: NewLog) -> None:
    log = new_log(1000).write()
    upper = (log.folder / "tile/1/000.p/3").read_bytes()
    changed(log, 300)
    log.write(checkpoint=False)
    log.put("tile/1/000.p/3", upper)
    [found] = log.verified().findings
    assert (found.code, found.where) == ("entry_differs", {"first": 256, "last": 511})


@pytest.mark.parametrize("harm", HARMS)
def test_a_log_rebuilt_around_a_change_does_not_lead_to_what_was_signed(
    new_log: NewLog, harm: Callable[[Log, int], None]
) -> None:
    """Whoever has the files and not the key. Kept heads and receipts say between which entries."""
    log = new_log(1000)
    log.put("checkpoints/200", log.checkpoint(200).encode())
    log.put("checkpoints/700", log.checkpoint(700).encode())
    log.write()
    harm(log, 300)
    log.write(checkpoint=False)
    report = log.verified()
    assert [one.code for one in report.findings] == ["entry_differs", "prefix_differs"]
    assert report.findings[0].where == {"first": 200, "last": 699}


@pytest.mark.parametrize("harm", HARMS)
def test_an_older_copy_tells_the_very_first_entry(new_log: NewLog, harm: Callable[[Log, int], None]) -> None:
    log = new_log(1000).write()
    old = Log(log.folder.with_name("old"), log.signer, log.entries[:700]).write()
    harm(log, 300)
    log.write(checkpoint=False)
    report = log.verified(compare=str(old.folder))
    assert {one.code for one in report.findings} == {"entry_differs", "prefix_differs", "copy_differs"}
    assert report.findings[0].where == {"first": 300, "last": 300}
    assert "entry 300 is the first" in report.text()


@pytest.mark.parametrize(
    ("place", "level", "at"), [("tile/0/000", 0, 7), ("tile/0/002.p/88", 0, 3), ("tile/1/000.p/2", 1, 1)]
)
def test_a_changed_tile_is_named(new_log: NewLog, place: str, level: int, at: int) -> None:
    log = new_log(600).write()
    content = bytearray((log.folder / place).read_bytes())
    content[at * 32] ^= 1
    log.put(place, bytes(content))
    [found] = log.verified().findings
    assert (found.code, found.where) == ("tile_differs", {"file": place, "hash": at})


@pytest.mark.parametrize("size", [600, 65_536 + 300])
def test_every_byte_counts(new_log: NewLog, size: int) -> None:
    """Any one bit, anywhere in the copy: never verified."""
    log = new_log(size).write()
    files = sorted(one for one in log.folder.rglob("*") if one.is_file())
    dice = random.Random(7)
    for file in [*dice.sample(files, min(len(files), 6)), *(one for one in files if "tile/0" not in str(one))][:14]:
        kept = file.read_bytes()
        place = dice.randrange(len(kept))
        file.write_bytes(kept[:place] + bytes([kept[place] ^ 1 << dice.randrange(8)]) + kept[place + 1 :])
        assert log.verified().code == 1, (file, place)
        file.write_bytes(kept)
    assert log.verified().code == 0


def test_what_is_missing_or_cut_off_is_named(new_log: NewLog) -> None:
    log = new_log(600).write()
    bundle = log.folder / "tile/entries/001"
    whole = bundle.read_bytes()
    bundle.write_bytes(whole[:-5])
    assert [(one.code, one.where["index"]) for one in log.verified().findings] == [("entry_missing", 511)]
    bundle.unlink()
    assert log.codes() == ["bundle_missing"]
    bundle.write_bytes(whole)
    (log.folder / "tile/0/001").unlink()
    assert [(one.code, one.where["file"]) for one in log.verified().findings] == [("tile_missing", "tile/0/001")]


def test_an_entry_too_many_is_seen_though_the_tree_does_not_know_it(new_log: NewLog) -> None:
    log = new_log(300).write()
    bundle = log.folder / "tile/entries/001.p/44"
    bundle.write_bytes(bundle.read_bytes() + len(leaf("x")).to_bytes(2, "big") + leaf("x"))
    assert log.codes() == ["entry_surplus"]


def test_an_entry_that_says_more_than_a_commitment_is_reported(new_log: NewLog) -> None:
    log = new_log(3)
    log.entries[1] = log.entries[1][:-1] + b',"who":"ann@example.org"}'
    report = log.write().verified()
    assert [(one.code, one.where["index"]) for one in report.findings] == [("entry_form", 1)]


# heads


def test_a_rolled_back_log_is_told_by_a_checkpoint_somebody_kept(new_log: NewLog, tmp_path: Path) -> None:
    log = new_log(600)
    kept = tmp_path / "kept"
    kept.write_text(log.checkpoint())
    del log.entries[500:]
    [found] = log.write().verified(since=kept).findings
    assert (found.code, found.where) == ("rolled_back", {"size": 500, "since": 600})
    assert log.verified().code == 0, "and by nothing else"


@pytest.mark.parametrize("more", [0, 100])
def test_a_forked_log_is_told_by_a_checkpoint_somebody_kept(new_log: NewLog, tmp_path: Path, more: int) -> None:
    log = new_log(600)
    kept = tmp_path / "kept"
    kept.write_text(log.checkpoint())
    changed(log, 400)
    assert log.grown(more).write().codes(since=kept) == ["forked"]
    assert log.codes() == []


def test_a_log_that_grew_begins_with_what_was_seen(new_log: NewLog, tmp_path: Path) -> None:
    log = new_log(300)
    kept = tmp_path / "kept"
    kept.write_text(log.checkpoint())
    assert "the log begins with the 300 entries seen before" in log.grown(400).write().verified(since=kept).holds
    kept.write_text(log.checkpoint())
    assert log.codes(since=kept) == []


def test_the_checkpoint_that_somebody_kept_must_be_signed_too(new_log: NewLog, tmp_path: Path) -> None:
    log, kept = new_log(10).write(), tmp_path / "kept"
    kept.write_text(log.checkpoint(signer=note.Signer.new(ORIGIN)))
    assert log.codes(since=kept) == ["signature_missing"]


def test_a_forged_signature_is_refused(new_log: NewLog) -> None:
    log = new_log(10).write()
    signed = log.checkpoint()
    text, _, line = signed.rpartition(" ")
    raw = bytearray(base64.b64decode(line))
    raw[20] ^= 1
    log.put("checkpoint", f"{text} {base64.b64encode(raw).decode()}\n".encode())
    assert log.codes() == ["signature_wrong"]
    log.put("checkpoint", log.checkpoint(signer=note.Signer.new(ORIGIN)).encode())
    assert log.codes() == ["signature_missing"]


def test_the_signature_of_another_log_is_refused(new_log: NewLog) -> None:
    log, other = new_log(10).write(), new_log(10, "other", ORIGIN[:-1] + "2").write()
    assert log.codes(keys=[other.key]) == ["origin_wrong"]
    text = log.checkpoint().partition("\n\n")[0] + "\n"
    log.put("checkpoint", other.signer.sign(text).encode())
    assert log.codes(keys=[log.key, other.key]) == ["signature_missing"]


def test_keys_count_where_they_signed(new_log: NewLog, tmp_path: Path) -> None:
    log = new_log(10).write()
    keys = tmp_path / "keys.json"
    ranges = '{"keys":[{"vkey":"%s","from_size":%s,"to_size":%s}]}'
    for start, end, codes in (
        (0, "null", []),
        (10, "10", []),
        (0, "9", ["key_out_of_range"]),
        (11, "null", ["key_out_of_range"]),
    ):
        keys.write_text(ranges % (log.key, start, end))
        assert log.codes(keys=[], believed={"key_lists": [keys]}) == codes
    keys.write_text(log.key + "\n")
    assert log.codes(keys=[], believed={"key_lists": [keys]}) == []
    for wrong in (
        '{"keys":[{"vkey":1}]}',
        "{",
        "no key",
        f'{{"keys":[{{"vkey":"{log.key}","from_size":-1,"to_size":null}}]}}',
    ):
        keys.write_text(wrong)
        with pytest.raises(Unusable):
            log.verified(keys=[], believed={"key_lists": [keys]})


def test_witnesses_are_counted(new_log: NewLog) -> None:
    log = new_log(10).write()
    one, two = note.Cosigner.new("one.example/w"), note.Cosigner.new("two.example/w")
    text = note.parse(log.checkpoint()).text
    log.put("checkpoint", (log.checkpoint() + one.cosign(text, 1_800_000_000)).encode())
    names = [one.witness.line(), two.witness.line()]
    assert log.codes(believed={"witnesses": names[:1]}) == []
    assert log.codes(believed={"witnesses": names}) == ["quorum_missing"]
    assert log.codes(believed={"witnesses": names, "quorum": 1}) == []
    assert any("one.example/w" in line for line in log.verified(believed={"witnesses": names, "quorum": 1}).holds)
    log.put("checkpoint", (log.checkpoint() + one.cosign(text.replace("\n10\n", "\n11\n"), 1_800_000_000)).encode())
    assert log.codes(believed={"witnesses": names, "quorum": 0}) == ["cosignature_wrong"]
    with pytest.raises(Unusable):
        log.verified(believed={"witnesses": names, "quorum": 3})


# what others hold


def test_a_disclosed_record_that_is_not_in_the_log_is_named(new_log: NewLog, tmp_path: Path) -> None:
    log = new_log(600)
    for index in (3, 400):
        log.disclose(index)
    folder = tmp_path / "records"
    folder.mkdir()
    (folder / "a.tlog-proof").write_bytes(log.receipt(3))
    (folder / "b.tlog-proof").write_bytes(log.receipt(400, 500))
    report = log.write().verified(records=folder)
    assert report.findings == []
    assert "the log holds the entry of each receipt given: 2" in report.holds
    changed(log, 400)
    report = log.write().verified(records=folder)
    assert {one.code for one in report.findings} == {"forked", "record_differs"}
    assert [one.where for one in report.findings if one.code == "record_differs"] == [
        {"index": 400, "file": "b.tlog-proof"}
    ]


def test_a_successor_commits_to_the_log_before_it(new_log: NewLog, tmp_path: Path) -> None:
    before = new_log(300)
    signed = before.checkpoint()
    log = new_log(0, "next", ORIGIN[:-1] + "2")
    log.entries.append(leaf(signed, "successor"))
    log.grown(20).write()
    assert [one for one in log.verified().unchecked if "--previous" in one]
    kept = tmp_path / "kept"
    kept.write_text(signed)
    report = log.verified(previous=kept, keys=[log.key, before.key])
    assert (report.findings, report.unchecked) == ([], [])
    log.put("previous", signed.encode())
    assert log.verified().unchecked == [f"who signed that checkpoint: give the key of {ORIGIN}"]
    kept.write_text(before.grown(1).checkpoint())
    assert log.codes(previous=kept) == ["successor_wrong"]
    log.entries[0] = leaf("no successor")
    assert log.write().codes(previous=kept) == ["successor_missing"]


def test_a_naive_recomputation_agrees(new_log: NewLog) -> None:
    """The root as RFC 9162, 2.1.1 says it, without any of our code."""

    def mth(entries: list[bytes]) -> bytes:
        if len(entries) == 1:
            return hashlib.sha256(b"\x00" + entries[0]).digest()
        split = 1 << (len(entries) - 1).bit_length() - 1
        return hashlib.sha256(b"\x01" + mth(entries[:split]) + mth(entries[split:])).digest()

    log = new_log(777).write()
    assert log.verified().facts["root"] == base64.b64encode(mth(log.entries)).decode()


def test_memory_does_not_grow_with_the_log(new_log: NewLog) -> None:
    """Fifteen times the entries, the same peak: a row a level, and one bundle."""
    peaks = []
    for size in (2 * 256, 30 * 256):
        log = new_log(size).write()
        log.entries.clear()
        log.verified()
        tracemalloc.start()
        assert log.verified().findings == []
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
