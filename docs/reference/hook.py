"""The hook by which MkDocs gets the generated pages and the list of decisions into its navigation.

Nothing generated is kept: pages come to be while the site is built, and `--strict` refuses links that lead nowhere.
"""

import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))

from reference import commands, house, http, metrics, providers, refusals, roles, settings  # noqa: E402
from reference.text import title  # noqa: E402


def pages() -> dict[str, str]:
    """Every generated page by its address."""
    return {
        "reference/commands.md": commands.page(),
        "reference/settings.md": settings.page(),
        "reference/refusals.md": refusals.page(),
        "reference/roles.md": roles.page(),
        "reference/providers.md": providers.page(),
        "reference/metrics.md": metrics.page(),
        "reference/house.md": house.page(),
        **http.pages(),
    }


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """The files of the site, with what is generated; the navigation is completed to match."""
    made = pages()
    for address, text in made.items():
        files.append(File.generated(config, address, content=text))
    _complete(config.nav or [], sorted(made))
    return files


def _complete(nav: list[Any], made: list[str]) -> None:
    """Put the generated pages under Reference, and every decision under Decisions."""
    sections = {name: parts for one in nav for name, parts in one.items() if isinstance(parts, list)}
    plain = [one for one in made if one.count("/") == 1]
    apart = [one for one in made if one.count("/") > 1]
    sections["Reference"] += [{"HTTP": [apart[0], *apart[1:]]}, *plain] if apart else plain
    folder = ROOT / "docs" / "decisions"
    sections["Decisions"] += [
        {title(file.read_text(encoding="utf-8")): f"decisions/{file.name}"} for file in sorted(folder.glob("[0-9]*.md"))
    ]
