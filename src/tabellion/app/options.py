"""What several commands take on the command line, and how they run and answer."""

import asyncio
import os
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import uvloop
from cyclopts import Parameter

from tabellion.access.types import Mode
from tabellion.app.output import print_json, print_text
from tabellion.core.config import Config, Settings, load

T = TypeVar("T")

Json = Annotated[bool, Parameter(name="--json", negative="", help="One line of JSON for programs.")]
Workspace = Annotated[str, Parameter(help="Its name or id.")]
Side = Annotated[Mode, Parameter(help="Which side of the workspace.")]


@Parameter(name="*")
@dataclass(frozen=True)
class Where:
    """The installation that a command is about."""

    data: Annotated[Path | None, Parameter(help="The data directory (TABELLION_DATA).")] = None
    database: Annotated[str | None, Parameter(help="A PostgreSQL to use instead (TABELLION_DATABASE_URL).")] = None
    keys: Annotated[Path | None, Parameter(help="The keys folder (TABELLION_KEYS).")] = None

    def config(self, **options: Any) -> Config:
        """The effective settings: file, environment, then these options and the others of the command."""
        return load(os.environ, {"data": self.data, "database_url": self.database, "keys": self.keys, **options})

    @property
    def settings(self) -> Settings:
        return self.config().settings


HERE: Final = Where()
"""Where the file and the environment say, or the usual place."""


def wait(work: Coroutine[Any, Any, T]) -> T:
    """What work returns, once it does."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def show(made: Mapping[str, Any], json: bool, text: str) -> None:
    """An answer, as one line for programs or as text for people."""
    if json:
        print_json(made)
    else:
        print_text(text)
