"""`tabellion export suppressions`: what was brought in comes out, and can be brought in elsewhere."""

import csv
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from .processes import Tabellion

SIDE = ("--workspace", "acme", "--mode", "live")


@pytest.fixture
def tabellion(tmp_path: Path) -> Iterator[Tabellion]:
    made = Tabellion(tmp_path)
    yield made
    made.close()


def test_a_list_that_was_brought_in_comes_out(tabellion: Tabellion, tmp_path: Path) -> None:
    for name in ("acme", "rival"):
        tabellion.json("workspace", "create", name)
    source, file = tmp_path / "optouts.csv", tmp_path / "out.csv"
    source.write_text("phone,email,reason\n+12025550111,,stop\n,ann@example.org,unsubscribed\n", encoding="utf-8")
    tabellion.json("import", "suppressions", str(source), *SIDE)
    report = tabellion.json("export", "suppressions", str(file), *SIDE)
    assert report == {"rows": 2, "file": str(file)}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with file.open(encoding="utf-8", newline="") as stream:
        rows = [(row["value"], row["reason"]) for row in csv.DictReader(stream)]
    assert rows == [("'+12025550111", "objected"), ("ann@example.org", "withdrawn")]
    there = tabellion.json("import", "suppressions", str(file), "--workspace", "rival", "--mode", "live")
    assert (there["rows"], there["applied"], there["rejected"]) == (2, 2, 0)
    assert sorted(one.name for one in tmp_path.iterdir() if one.suffix in (".part", ".lock")) == []
    tabellion.json("export", "suppressions", str(tmp_path / "ann@example.org.csv"), *SIDE)
    key = tabellion.key("acme", mode="live", role="compliance")["key"]
    hub = tabellion.up()
    with hub.client(key) as client:
        audited = client.get("/v1/audit?action=suppressions.exported")
    assert hub.stop() == 0
    assert len(audited.json()["data"]) >= 2
    assert "ann@example.org" not in audited.text, "the name of a file may be somebody's"
