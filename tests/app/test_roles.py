"""What a process measures of the database it works on."""

from tabellion.app.roles import count_waiting
from tabellion.app.wiring import Surroundings, wire
from tabellion.core import ids
from tabellion.core.ids import WorkspaceId
from tabellion.jobs.service import enqueue
from tabellion.jobs.types import Lane, NewJob


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
