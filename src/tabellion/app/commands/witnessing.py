"""The commands of a witness: it watches the logs of others, and has a folder instead of a database."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tabellion.app.options import HERE, Json, show, wait
from tabellion.app.witnesses import named_folder, serve_witness, snippet, trust

Dir = Annotated[Path | None, Parameter(name="--dir", help="The witness's folder (TABELLION_WITNESS_DIR).")]


def run_witness(
    *,
    dir: Dir = None,
    listen: Annotated[str, Parameter(help="HOST:PORT to serve on.")] = "127.0.0.1:8091",
    name: Annotated[str | None, Parameter(help="Its name, for a key that is made now: a domain and a path.")] = None,
) -> None:
    """Watch the logs of others. The key is made on first start; the lines for their policy are printed."""
    settings = HERE.config(witness_dir=dir, listen=listen).settings
    wait(serve_witness(settings.address, named_folder(settings).path, name))


def show_witness(
    *,
    dir: Dir = None,
    url: Annotated[str, Parameter(help="Where others reach it.")] = "https://HOST/witness",
    json: Json = False,
) -> None:
    """Show the key of a witness, and the lines for the policy of those it watches."""
    witness = named_folder(HERE.config(witness_dir=dir).settings).cosigner().witness
    show({"name": witness.name, "key": witness.line(), "url": url}, json, snippet(witness, url))


def trust_logs(
    *keys: Annotated[str, Parameter(help="Verifier keys of logs; without any, standard input has one a line.")],
    dir: Dir = None,
    json: Json = False,
) -> None:
    """Have a witness watch these logs too. It knows them at once, also while it runs."""
    folder = named_folder(HERE.config(witness_dir=dir).settings)
    added = trust(folder, keys or sys.stdin.read().splitlines())
    show({"added": added}, json, "\n".join(f"watches {origin}" for origin in added) or "watched already")
