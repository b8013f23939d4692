"""What a process measures of the database it works on."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from tabellion.app.doctor import Level, examine_witnesses
from tabellion.app.opening import Opened
from tabellion.app.roles import count_waiting, watch_ledger
from tabellion.app.wiring import Hub, Surroundings, wire
from tabellion.app.witnesses import snippet
from tabellion.core import ids
from tabellion.core.clock import FakeClock
from tabellion.core.config import Settings
from tabellion.core.ids import WorkspaceId
from tabellion.jobs.service import enqueue
from tabellion.jobs.types import Lane, NewJob
from tabellion.ledger.note import Cosigner, Signer
from tabellion.ledger.witness import policy


async def test_the_jobs_of_each_lane_are_in_the_metrics(surroundings: Surroundings) -> None:
    """The gauge was declared, and nothing ever set it."""
    hub = wire(surroundings)
    jobs = [NewJob(WorkspaceId(ids.new()), "any.kind", {}, lane) for lane in (Lane.HIGH, Lane.HIGH, Lane.BULK)]
    await surroundings.db.run(lambda tx: enqueue(tx, jobs))
    await count_waiting(hub)
    counted = {
        lane.name: surroundings.metrics.registry.get_sample_value("tabellion_jobs_waiting", {"lane": lane.name.lower()})
        for lane in Lane
    }
    assert counted == {"CRITICAL": 0, "HIGH": 2, "NORMAL": 0, "BULK": 1}
    await hub.close()


async def test_what_witnesses_answer_and_what_is_behind_is_in_the_metrics(surroundings: Surroundings, clock: FakeClock):
    hub, workspace_id = under_policy(surroundings), WorkspaceId(ids.new())
    assert hub.publisher is not None
    await hub.around.db.run(lambda tx: hub.ledger.origin(tx, workspace_id))
    assert await hub.publisher.publish() == 0
    clock.advance(timedelta(minutes=1))
    await watch_ledger(hub)
    value = surroundings.metrics.registry.get_sample_value
    assert value("tabellion_witness_calls_total", {"outcome": "unhelpful"}) == 1
    assert value("tabellion_ledger_logs_unpublished") == 1
    await hub.close()


async def test_doctor_names_the_log_and_the_witness(surroundings: Surroundings, clock: FakeClock, tmp_path: Path):
    hub, workspace_id = under_policy(surroundings), WorkspaceId(ids.new())
    assert hub.publisher is not None
    origin = await hub.around.db.run(lambda tx: hub.ledger.origin(tx, workspace_id))
    await hub.publisher.publish()
    clock.advance(timedelta(minutes=1))
    (tmp_path / "policy").write_text(POLICY)
    around = surroundings
    installation = Opened("", around.db, clock, around.vault, around.keys, around.install_id, hub.ledger, None)
    found = await examine_witnesses(installation, Settings(witness_policy=tmp_path / "policy"))
    assert [(one.name, one.level) for one in found] == [
        ("witnesses", Level.OK), ("published", Level.WARNING), ("witnesses", Level.WARNING),
    ]  # fmt: skip
    assert found[1].data == {"origin": origin, "size": 0, "shown": None}
    assert found[2].text.startswith("away cannot be reached")
    assert found[2].data["origins"] == [origin]
    (tmp_path / "policy").write_text(f"log {Signer.of('other.example', bytes(32)).verifier.line()}\n{POLICY}")
    found = await examine_witnesses(installation, Settings(witness_policy=tmp_path / "policy"))
    assert [one.data["unlisted"] for one in found if "unlisted" in one.data] == [[origin]]
    (none,) = await examine_witnesses(installation, Settings())
    assert "nobody else has seen it" in none.text
    await hub.close()


POLICY = snippet(Cosigner.of("away", bytes(32)).witness, "https://127.0.0.1:1/witness")


def under_policy(surroundings: Surroundings) -> Hub:
    """A hub whose only witness is away."""
    return wire(replace(surroundings, witness_policy=policy.parse(POLICY.encode())))
