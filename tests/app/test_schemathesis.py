"""The API against its own description: whatever is sent, every answer is one that `/openapi.json` tells of.

Schemathesis makes requests from the document, right and wrong ones, alone and in sequences, and sends them to a real
hub. It checks that nothing is a 5xx, that each status, media type, header and body is documented, that what breaks the
schema is refused, and that nothing answers without a key.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from .processes import COMMAND, PATIENCE, Running, Tabellion

SCHEMATHESIS = str(Path(COMMAND[0]).with_name("schemathesis"))
EXCLUDED = {
    "positive_data_acceptance": "what a schema cannot say is refused with a 422: an unknown purpose, an invalid number",
    "use_after_free": "what is deleted has ended, and is still shown: a key, an account",
}
VENDORS = ("POST", "/in/{provider}/{account_id}")
"""Takes what a vendor signed, which no schema can make."""
PAIRS = {("POST", f"/v1/recipients/{{recipient_id}}/{word}") for word in ("merge", "split")}
"""Take two recipients that are there, or a merge of them: no sequence made from a schema hits on both."""
REVIEWS = {
    ("GET", "/v1/reviews/{review_id}"),
    ("POST", "/v1/reviews/{review_id}/accept"),
    ("POST", "/v1/reviews/{review_id}/reject"),
}
"""Take a review, which an import opens and no route."""
PUBLISHED = {
    ("GET", f"/ledger/{{log}}/{name}")
    for name in ("checkpoint", "key", "keys", "proof/consistency", "proof/inclusion", "tile/{file}")
}
"""Take the id of a log that is published, which nobody guesses."""
FILES = {("GET", f"/v1/ledger/{log}tile/{{file}}") for log in ("", "{log}/")}
"""Take a name with slashes in it, which no client made from a document leaves as they are."""
RECEIPTS = {("GET", "/v1/consents/{consent_id}/receipt")}
"""Take a decision, which is listed nowhere."""
AUDITED = {("GET", f"/v1/audit/{{entry_id}}{more}") for more in ("", "/receipt")}
"""Take an entry: its id is in a list, which no sequence follows far enough."""
ORDERS = {
    ("DELETE", "/v1/recipients/{recipient_id}"),
    ("POST", "/v1/regulations/{regulation_id}/approve"),
    ("POST", "/v1/regulations/{regulation_id}/systems/{system}"),
    ("GET", "/v1/regulations/{regulation_id}/certificate"),
    ("GET", "/v1/regulations/{regulation_id}/export"),
    ("GET", "/v1/regulations/{regulation_id}/document"),
    ("GET", "/v1/regulations/{regulation_id}/evidence"),
    ("POST", "/v1/proofs/{proof_id}/openings"),
    ("POST", "/v1/proof-openings/{opening_id}/approve"),
    ("GET", "/v1/proof-openings/{opening_id}"),
}
"""Take an order of one type that was carried out, which takes its time, or the key of a second person."""
NOTICED = {
    ("GET", "/v1/notices/{notice_id}"),
    ("POST", "/v1/notices/{notice_id}/served"),
    ("POST", "/v1/notices/{notice_id}/versions/{version}/publish"),
    ("PUT", "/v1/notices/{notice_id}/versions/{version}"),
    ("DELETE", "/v1/notices/{notice_id}/versions/{version}"),
}
"""Take a notice that another request did not delete, with a version that is a draft, or published: too long a way."""
LISTS = {("POST", "/v1/suppressions/import")}
"""Takes CSV or JSON lines, which the document has no schema of."""


@pytest.fixture(scope="module")
def tabellion(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tabellion]:
    made = Tabellion(tmp_path_factory.mktemp("schemathesis"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def key(tabellion: Tabellion) -> str:
    """An owner's: it may do everything."""
    secret: str = tabellion.key("acme", role="owner")["key"]
    return secret


@pytest.fixture(scope="module")
def hub(tabellion: Tabellion, key: str) -> Iterator[Running]:
    running = tabellion.up()
    yield running
    assert running.stop() == 0


def run(hub: Running, folder: Path, *options: str) -> None:
    """Return if nothing was found. The same requests each time: `schemathesis run` by hand tries others."""
    words = ["run", f"{hub.url}/openapi.json", "--generation-deterministic", "--no-color", "--no-shrink"]
    words += ["--exclude-checks", ",".join(EXCLUDED), *options]
    done = subprocess.run(
        [SCHEMATHESIS, *words], cwd=folder, capture_output=True, text=True, check=False, timeout=5 * PATIENCE
    )
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr


def test_with_a_key_every_answer_is_a_documented_one(hub, key, tmp_path):
    run(hub, tmp_path, "--header", f"Authorization: Bearer {key}", "--max-examples", "10")
    seen = {(line["method"], line["route"]): set() for line in hub.logged("request")}
    for line in hub.logged("request"):
        seen[line["method"], line["route"]].add(line["status"])
    document = httpx.get(f"{hub.url}/openapi.json").json()
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    wanted = described - {VENDORS} - PAIRS - REVIEWS - ORDERS - PUBLISHED - FILES - RECEIPTS - LISTS - AUDITED
    wanted -= NOTICED
    unreached = {one for one in wanted if not any(status < 300 for status in seen.get(one, ()))}
    assert unreached == set(), "every route was met with a request that it takes, too"
    assert not [line for line in hub.said().splitlines() if '"level":"error"' in line]


def test_without_a_key_nothing_is_told(hub, tmp_path):
    before = len(hub.logged("request"))
    run(hub, tmp_path, "--phases", "examples,fuzzing", "--max-examples", "5")
    answered = [line for line in hub.logged("request")[before:] if line["route"].startswith("/v1/")]
    assert {line["status"] for line in answered if line["method"] != "OPTIONS"} <= {400, 401}
