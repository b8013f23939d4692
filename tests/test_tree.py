"""Rules about the files themselves."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST = 600
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUN = (ROOT / "requirements.lock").read_text(encoding="utf-8")
TEST = (ROOT / "requirements-dev.lock").read_text(encoding="utf-8")


def name_of(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement)[0].lower()


def pins(lock: str) -> dict[str, str]:
    return {name.lower(): version for name, version in re.findall(r"^([\w.-]+)==([^ ;\\]+)", lock, re.MULTILINE)}


def test_no_file_is_too_long_to_read() -> None:
    files = [file for folder in ("src", "tests", "benchmarks") for file in (ROOT / folder).rglob("*.py")]
    lengths = {str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_everything_the_project_needs_is_locked() -> None:
    runtime = {name_of(one) for one in (*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"])}
    development = {name_of(one) for one in PROJECT["project"]["optional-dependencies"]["dev"]}
    assert runtime - pins(RUN).keys() == set()
    assert development - pins(TEST).keys() == set()


def test_tests_run_with_the_versions_that_users_run() -> None:
    assert {name: pins(TEST).get(name) for name in pins(RUN)} == pins(RUN)


@pytest.mark.parametrize("lock", [RUN, TEST])
def test_every_locked_version_has_its_hashes_and_names_no_place_to_get_it_from(lock: str) -> None:
    entries = re.split(r"\n(?=\S)", lock.strip())
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert re.findall(r".*(?:://|--index|--find-links|--extra-index|\bfile:).*", lock) == []
