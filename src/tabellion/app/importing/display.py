"""How far an import is, for who watches: a bar on a terminal, nothing elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tabellion.app.importing import beside


@contextmanager
def bar(
    name: str, size: int, begun: beside.Progress | None, console: Console
) -> Iterator[Callable[[beside.Progress], None]]:
    """What draws how far the import is, with rows a second and the time left."""
    text = "{task.fields[rows]:,} rows · {task.fields[rate]:,.0f}/s · {task.fields[rejected]:,} rejected"
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn(text),
               TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())  # fmt: skip
    first = begun.count if begun else beside.Count()
    offset = begun.place.offset if begun else 0
    with Progress(*columns, console=console, disable=not console.is_terminal) as drawn:
        # A file without a byte is through at once.
        task = drawn.add_task(
            name, total=max(size, 1), completed=offset, rows=first.rows, rate=0.0, rejected=first.rejected
        )

        def show(at: beside.Progress) -> None:
            spent = drawn.tasks[0].elapsed or 0.0
            rate = (at.count.rows - first.rows) / spent if spent else 0.0
            drawn.update(task, completed=at.place.offset, rows=at.count.rows, rate=rate, rejected=at.count.rejected)

        yield show
