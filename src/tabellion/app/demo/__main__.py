"""The story itself."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tabellion.app.demo import audit
from tabellion.app.demo.proof import audit_the_log, hand_out_a_receipt
from tabellion.app.demo.story import Story, Untrue
from tabellion.app.demo.world import World, press
from tabellion.core.ids import show

ANN = {"phone": "+12025550111", "email": "ann@example.org"}
BEN = {"phone": "+15005550009", "email": "ben@example.org"}
"""Twilio refuses this number: it cannot receive texts."""
EVE = {"phone": "+12025550133", "email": "eve@example.org"}
QUEUED = 500


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="tabellion-demo-"))
    story, world = Story(), World(folder)
    try:
        tell(story, world)
    except (Untrue, RuntimeError, OSError) as error:
        sys.stderr.write(f"\nThe demo failed: {error}\n{_tail(folder / 'hub.log')}\n")
        return 1
    finally:
        world.stop()
        shutil.rmtree(folder, ignore_errors=True)
    story.end()
    return 0


def tell(story: Story, world: World) -> None:
    open_the_house(story, world)
    meet_people(story, world)
    fall_back(story, world)
    deliver_with_callback(story, world)
    stop = hear_stop(story, world)
    keep_the_promise(story, world)
    click_once(story, world)
    verify_the_checkpoint(story, world)
    hand_out_a_receipt(story, world, stop)
    audit_the_log(story, world)
    survive_a_kill(story, world)


def open_the_house(story: Story, world: World) -> None:
    story.scene("The hub starts, with its own PostgreSQL, beside a text-message vendor and a mail server")
    world.start_vendors()
    world.start_hub()
    story.tell(f"hub {world.url}, vendors {world.vendors}, SMTP on port {world.smtp_port}")
    world.command("workspace", "create", "demo")
    key = world.command("keys", "create", "--workspace", "demo", "--role", "admin", "--mode", "live")
    world.key = key["key"]
    story.check("the command line made a workspace and a live key", world.key.startswith("tbl_live_"))
    world.accounts()
    story.check("two vendor accounts are configured", len(world.call("GET", "/v1/accounts")["data"]) == 2)


def meet_people(story: Story, world: World) -> None:
    story.scene("Three people, and what they agreed to")
    for name, person in (("ann", ANN), ("ben", BEN), ("eve", EVE)):
        identifiers = [{"kind": kind, "value": value} for kind, value in person.items()]
        made = world.call("POST", "/v1/recipients", {"external_id": name, "identifiers": identifiers})
        story.check(f"{name} is {made['id']}", made["created"])
    answer = world.call("POST", "/v1/consents", {
        "recipient": {"external_id": "ann"}, "channel": "sms", "purpose": "marketing", "decision": "granted",
        "basis": "consent", "method": "form", "source": "sign-up page", "evidence": {"url": "https://example.org/join"},
    })  # fmt: skip
    story.check("ann agreed to marketing by text, and the entry is in a signed tree", answer["tree_size"] == 1, answer)
    asked = {"recipient": {"external_id": "eve"}, "channel": "sms", "purpose": "marketing"}
    verdict = world.call("POST", "/v1/consents/check", asked)
    story.check("eve said nothing, so marketing to her is not sendable", not verdict["sendable"], verdict)


def fall_back(story: Story, world: World) -> None:
    story.scene("A message whose text is rejected falls back to e-mail")
    steps = [{"channel": "sms"}, {"channel": "email"}]
    sent = send(world, {"external_id": "ben"}, "transactional", "Your parcel is at the door", steps)
    final = wait_for(story, world, sent, "sent", "the message is sent")
    first, second = final["steps"][0]["attempts"][0], final["steps"][1]["attempts"][0]
    story.check("the vendor rejected the text: not a mobile number", first["state"] == "rejected", first)
    story.check("the mail server accepted the mail", second["state"] == "submitted", second)
    [mail] = story.wait("the mail is in ben's mailbox", lambda: world.mails(BEN["email"]))
    story.check("and says what we said", "Your parcel" in str(mail), mail)


def deliver_with_callback(story: Story, world: World) -> None:
    story.scene("A marketing text is delivered, and the vendor's signed callbacks say so")
    sent = send(world, {"external_id": "ann"}, "marketing", "A new poem for you", [{"channel": "sms"}])
    wait_for(story, world, sent, "delivered", "the message is delivered")
    timeline = [one["type"] for one in world.call("GET", f"/v1/messages/{sent}/timeline")["data"]]
    story.tell("timeline: " + " → ".join(timeline))
    story.check("the timeline starts with message.queued", timeline[0] == "message.queued", timeline)


def hear_stop(story: Story, world: World) -> str:
    """The id of the entry that STOP made."""
    story.scene("Ann texts STOP")
    before = tree_size(world)
    answer = world.vendor("POST", "/twilio/control/inbound", {"from": ANN["phone"], "body": "STOP"})
    story.check("the signed callback was answered with 200", answer["callback_status"] == 200, answer)
    after = tree_size(world)
    story.check(f"the signed tree had grown by one entry by then ({before} → {after})", after == before + 1)
    asked = {"recipient": {"external_id": "ann"}, "channel": "sms", "purpose": "marketing"}
    verdict = world.call("POST", "/v1/consents/check", asked)
    story.check(f"texts to her are denied, by entry {verdict['log_index']}", verdict["verdict"] == "denied", verdict)
    find_in_the_tree(story, world, verdict)
    entry_id: str = verdict["entry_id"]
    return entry_id


def find_in_the_tree(story: Story, world: World, verdict: Any) -> None:
    """Compute the signed root anew from the log's entries, and find the one that a verdict rests on among them."""
    head = audit.signed_head(world.text("/v1/ledger/checkpoint"), world.text("/v1/ledger/key"))
    entries = audit.entries(world.data, head)
    leaves = [one.leaf for one in entries]
    story.check(f"the log has the {head.size} entries that the head signs for", len(leaves) == head.size, len(leaves))
    story.check("their hashes, computed anew (RFC 6962), lead to the signed root", audit.tree_root(leaves) == head.root)
    index = verdict["log_index"]
    story.check(
        f"entry {index} of them is what the hub names as her STOP",
        show("cns", entries[index].id) == verdict["entry_id"],
        verdict,
    )
    story.tell(f"its leaf {leaves[index].decode()}")
    story.tell(f"hashes to {audit.leaf_hash(leaves[index]).hex()}")
    others = [leaf for leaf in leaves if leaf != leaves[index]]
    story.check("and without it the root would be another", audit.tree_root(others) != head.root)


def keep_the_promise(story: Story, world: World) -> None:
    story.scene("No text reaches her any more; a mail she needs still does")
    seen = len(world.vendor("GET", "/twilio/control/requests")["data"])
    entry = tree_size(world) - 1
    for purpose in ("marketing", "transactional"):
        sent = send(world, {"external_id": "ann"}, purpose, "Hello again", [{"channel": "sms"}])
        wait_for(story, world, sent, "suppressed", f"a {purpose} text ends suppressed")
        explained = world.call("GET", f"/v1/messages/{sent}/explain")
        indexes = {one["log_index"] for one in _verdicts(explained)}
        story.check(f"its explanation names ledger entry {entry}", entry in indexes, explained)
    now = len(world.vendor("GET", "/twilio/control/requests")["data"])
    story.check("nothing reached the vendor", now == seen, now - seen)
    sent = send(world, {"external_id": "ann"}, "transactional", "Your invoice", [{"channel": "email"}])
    wait_for(story, world, sent, "sent", "a transactional message still goes out by e-mail")
    story.wait("and arrives", lambda: world.mails(ANN["email"]))


def click_once(story: Story, world: World) -> None:
    story.scene("Eve unsubscribes with one click in her mail program")
    person = world.call("GET", "/v1/recipients?external_id=eve")["data"][0]["id"]
    asked = {"kind": "unsubscribe", "channel": "email", "purpose": "marketing"}
    link = world.call("POST", f"/v1/recipients/{person}/links", asked)["url"]
    story.check("the link says nothing about her", EVE["email"] not in link and person not in link, link)
    story.check("the click is answered", press(link, "List-Unsubscribe=One-Click") == 200)
    question = {"recipient": {"external_id": "eve"}, "channel": "email", "purpose": "marketing"}
    verdict = world.call("POST", "/v1/consents/check", question)
    story.check(f"and counts: entry {verdict['log_index']} denies it", verdict["verdict"] == "denied", verdict)


def verify_the_checkpoint(story: Story, world: World) -> None:
    story.scene("The checkpoint verifies with a few independent lines")
    head = audit.signed_head(world.text("/v1/ledger/checkpoint"), world.text("/v1/ledger/key"))
    story.check(f"the key's signature holds over {head.origin}", True)
    story.check(f"at {head.size} entries, root {head.root.hex()}", head.size > 1)
    leaves = [one.leaf for one in audit.entries(world.data, head)]
    story.check("which is the root of the entries that are in the database", audit.tree_root(leaves) == head.root)


def survive_a_kill(story: Story, world: World) -> None:
    story.scene(f"The hub is killed with -9 in the middle of {QUEUED} queued messages")
    people = [f"+1202556{number:04d}" for number in range(QUEUED)]
    world.vendor("POST", "/twilio/control/faults", {"kind": "latency", "seconds": 0.4, "times": 0})
    with ThreadPoolExecutor(16) as pool:
        sent = list(pool.map(lambda phone: send(world, {"phone": phone}, "transactional", "Ping"), people))
    story.tell(f"{len(set(sent))} messages acknowledged, towards a vendor that takes 0.4 s for each")
    story.wait("the vendor has some of them", lambda: _reached(world, people))
    world.kill_hub()
    reached = len(_reached(world, people))
    story.check(f"killed when {reached} of {QUEUED} had reached the vendor", reached < QUEUED, reached)
    world.vendor("DELETE", "/twilio/control/faults")
    world.start_hub()
    story.tell("the hub is back, on the same data; what was under way waits for its lease to run out (30 s)")
    story.wait("all of them reach the vendor", lambda: len(set(_reached(world, people))) == QUEUED, within=90)
    story.wait("every message is recorded as sent", lambda: all(_is_sent(world, one) for one in sent), within=90)
    twice = len(_reached(world, people)) - QUEUED
    story.tell(f"{twice} arrived twice: the guarantee for transactional messages is at least once")


def send(world: World, to: Any, purpose: str, text: str, steps: Any = None) -> str:
    body: dict[str, Any] = {"to": to, "purpose": purpose, "content": {"subject": text, "text": text}}
    if steps:
        body["route"] = {"steps": steps}
    answer = world.call("POST", "/v1/messages", body)
    message_id: str = answer["id"]
    return message_id


def wait_for(story: Story, world: World, message_id: str, status: str, claim: str) -> Any:
    def look() -> Any:
        message = world.call("GET", f"/v1/messages/{message_id}")
        return message if message["status"] == status else None

    return story.wait(claim, look)


def tree_size(world: World) -> int:
    return int(world.text("/v1/ledger/checkpoint").splitlines()[1])


def _reached(world: World, people: list[str]) -> list[str]:
    """The numbers that the vendor accepted a message for, as often as it did."""
    wanted = set(people)
    return [one["to"] for one in world.vendor("GET", "/twilio/control/messages")["data"] if one["to"] in wanted]


def _is_sent(world: World, message_id: str) -> bool:
    return world.call("GET", f"/v1/messages/{message_id}")["status"] in {"sent", "delivered"}


def _verdicts(explained: Any) -> Iterator[Any]:
    yield from explained["decisions"]
    yield from (one["verdict"] for one in explained["candidates"] if one["verdict"])


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-30:]) if log.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
