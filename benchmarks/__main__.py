"""`make bench`: every benchmark, a table, and `benchmarks/results/*.json`.

Names choose among them: `make bench ARGS="accept idle"`.
"""

import asyncio
import json
import os
import platform
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import accept, audited, consents, end_to_end, idle, jobs, ledger, proofs, recipients, verify

RESULTS = Path(__file__).parent / "results"
ALL: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {
    "jobs": jobs.run,
    "ledger": ledger.run,
    "proofs": proofs.run,
    "audited": audited.run,
    "accept": accept.run,
    "consents": consents.run,
    "end_to_end": end_to_end.run,
    "idle": idle.run,
    "recipients": recipients.run,
    "verify": verify.run,
}


def machine() -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg(),
    }


async def main(names: list[str]) -> None:
    if unknown := set(names) - set(ALL):
        raise SystemExit(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    console = Console()
    table = Table("benchmark", "figure", "value", title="Tabellion benchmarks")
    RESULTS.mkdir(exist_ok=True)
    for name in names or ALL:
        console.print(f"running {name} …")
        found = machine()
        result = await ALL[name]()
        (RESULTS / f"{name}.json").write_text(json.dumps({"machine": found, "result": result}, indent=1))
        for figure, value in result.items():
            if not isinstance(value, dict | list):
                table.add_row(name, figure, str(value))
    console.print(table)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
