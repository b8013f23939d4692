"""The settings: one typed table, filled from `tabellion.toml`, the environment and the command line, the last one wins.

Every setting has one name: `public_url` in the file, `TABELLION_PUBLIC_URL` in the environment, `--public-url` on the
command line (but `--database` for `database_url`). Lists are comma-separated in the latter two. What is wrong is
refused, naming where it came from; `doctor` prints the effective values, their origins, and variables nobody reads.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec

from tabellion.core.crypto import Secret
from tabellion.core.errors import Misconfigured

PREFIX = "TABELLION_"
FILE = "tabellion.toml"
FILE_VARIABLE = PREFIX + "CONFIG"


class Role(StrEnum):
    API = "api"
    WORKER = "worker"
    FOLLOWERS = "followers"


def says(text: str, at_least: int | None = None, at_most: int | None = None) -> msgspec.Meta:
    """What a setting is for, and its bounds."""
    return msgspec.Meta(description=text, ge=at_least, le=at_most)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator can set. The descriptions are the documentation."""

    data: Annotated[Path, says("the data directory, with the bundled PostgreSQL in it")] = Path("tabellion-data")
    keys: Annotated[Path | None, says("the keys folder; DATA.keys unless set, needed with an own database")] = None
    database_url: Annotated[Secret | None, says("a PostgreSQL 15 or newer to use instead of the bundled one")] = None
    database_connections: Annotated[int, says("connections that a process opens", at_least=2, at_most=1000)] = 16
    postgres_bin: Annotated[Path | None, says("the bin directory of another PostgreSQL to run as bundled")] = None
    listen: Annotated[str, says("HOST:PORT to serve on")] = "127.0.0.1:8080"
    roles: Annotated[tuple[Role, ...], says("what this process does: api, worker, followers")] = tuple(Role)
    public_url: Annotated[str | None, says("where vendors reach this hub; what they call and sign")] = None
    allow_private_networks: Annotated[
        tuple[str, ...], says("CIDRs that outbound calls and custom vendor hosts may reach, also in clear text")
    ] = ()
    behind_proxy: Annotated[tuple[str, ...], says("CIDRs of the proxies whose X-Forwarded-For is believed")] = ()
    legal_table: Annotated[Path | None, says("a file of legal sending windows instead of the built-in table")] = None
    blocked_values: Annotated[
        tuple[str, ...], says("values that are nobody's and no identifier may have, beside the built-in ones")
    ] = ()
    witness_policy: Annotated[
        Path | None, says("a file (C2SP tlog-policy) that says which witnesses must cosign what the ledgers show")
    ] = None
    witness_dir: Annotated[Path | None, says("the folder of a witness for others, served by this hub at /witness")] = (
        None
    )
    backup_window: Annotated[
        int, says("days that backups are kept; so long after a month its epoch key is destroyed", 1, 3650)
    ] = 35
    drain_seconds: Annotated[float, says("seconds a stop waits for work under way", at_least=0, at_most=600)] = 15.0

    @property
    def keys_folder(self) -> Path:
        """Where the keys are. They belong to one database, so only the bundled one has a place for them by itself."""
        if self.keys is None and self.database_url is not None:
            raise Misconfigured(
                "keys_required", "an own database needs its keys folder named: --keys or TABELLION_KEYS"
            )
        return self.keys or self.data.with_name(self.data.name + ".keys")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to serve on."""
        return _address(self.listen)


NAMES = Settings.__struct_fields__
DESCRIPTIONS = {
    field.name: next(meta.description or "" for meta in field.type.__metadata__ if isinstance(meta, msgspec.Meta))
    for field in msgspec.structs.fields(Settings)
}
OPTIONS = {name: "--" + name.replace("_", "-") for name in NAMES} | {"database_url": "--database"}
VARIABLES = {PREFIX + name.upper(): name for name in NAMES}
_LISTS = {"roles", "allow_private_networks", "behind_proxy", "blocked_values"}


@dataclass(frozen=True, slots=True)
class Shown:
    """One setting as people may see it: a secret is masked."""

    name: str
    value: str
    origin: str
    description: str


@dataclass(frozen=True, slots=True)
class Config:
    settings: Settings
    origins: Mapping[str, str]
    unread: tuple[str, ...] = ()
    """Environment variables that look like settings and are none."""

    def shown(self) -> list[Shown]:
        """Every setting with its effective value and where that came from."""
        return [
            Shown(name, _masked(getattr(self.settings, name)), self.origins.get(name, "default"), description)
            for name, description in DESCRIPTIONS.items()
        ]


def load(environ: Mapping[str, str], options: Mapping[str, Any] | None = None, folder: Path = Path()) -> Config:
    """The effective settings. `options` are those of the command line; one that is None was not given."""
    found = _from_file(environ, folder)
    found |= {VARIABLES[name]: (value, name) for name, value in environ.items() if name in VARIABLES}
    found |= {name: (value, OPTIONS[name]) for name, value in (options or {}).items() if value is not None}
    origins = {name: origin for name, (_, origin) in found.items()}
    settings = _typed({name: value for name, (value, _) in found.items()}, origins)
    _check(settings, origins)
    unread = {name for name in environ if name.startswith(PREFIX)} - {FILE_VARIABLE, *VARIABLES}
    return Config(settings, origins, tuple(sorted(unread)))


def _from_file(environ: Mapping[str, str], folder: Path) -> dict[str, tuple[Any, str]]:
    named = environ.get(FILE_VARIABLE)
    file = Path(named) if named else folder / FILE
    if not named and not file.exists():
        return {}
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Misconfigured("setting_invalid", f"{file} cannot be read: {error}") from None
    if unknown := sorted(set(values) - set(NAMES)):
        raise Misconfigured(
            "setting_unknown", f"{file} sets {', '.join(unknown)}, which is no setting; there are {', '.join(NAMES)}"
        )
    return {name: (value, str(file)) for name, value in values.items()}


def _typed(values: Mapping[str, Any], origins: Mapping[str, str]) -> Settings:
    ready = {name: _listed(value) if name in _LISTS else value for name, value in values.items()}
    try:
        return msgspec.convert(ready, Settings, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$.")
        raise _wrong(re.split(r"\W", place)[0], origins, problem) from None


def _listed(value: Any) -> Any:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _decode(wanted: type, value: Any) -> Any:
    if wanted is Path and isinstance(value, str | Path) and str(value):
        return Path(value).expanduser()
    if wanted is Secret and isinstance(value, str | Secret):
        return value if isinstance(value, Secret) else Secret(value)
    raise ValueError("Expected a text that is not empty")


def _check(settings: Settings, origins: Mapping[str, str]) -> None:
    """Refuse texts that do not mean what they should. What only the machine can tell is for `doctor`."""
    rules: dict[str, Callable[[], None]] = {
        "listen": lambda: _require_address(settings.listen),
        "roles": lambda: _require_some(settings.roles),
        "public_url": lambda: _require_web(settings.public_url),
        "allow_private_networks": lambda: _require_networks(settings.allow_private_networks),
        "behind_proxy": lambda: _require_networks(settings.behind_proxy),
        "database_url": lambda: _require_postgres(settings.database_url),
    }
    for name, rule in rules.items():
        try:
            rule()
        except ValueError as error:
            raise _wrong(name, origins, str(error)) from None


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"'{listen}' is not HOST:PORT, such as 127.0.0.1:8080 or [::]:8080")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _require_address(listen: str) -> None:
    _address(listen)


def _require_some(roles: tuple[Role, ...]) -> None:
    if not roles:
        raise ValueError("name at least one role: api, worker, followers")


def _require_web(url: str | None) -> None:
    parts = urlsplit(url or "https://hub.example")
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"'{url}' is not an address such as https://hub.example.org")


def _require_networks(networks: tuple[str, ...]) -> None:
    for text in networks:
        ip_network(text)


def _require_postgres(url: Secret | None) -> None:
    if url and urlsplit(url.reveal()).scheme not in ("postgresql", "postgres"):
        raise ValueError("it is not of the form postgresql://user:password@host/database")


def _wrong(name: str, origins: Mapping[str, str], problem: str) -> Misconfigured:
    return Misconfigured("setting_invalid", f"{name} ({origins.get(name, 'default')}): {problem}")


def _masked(value: object) -> str:
    match value:
        case None:
            return ""
        case tuple():
            return ",".join(str(part) for part in value)
        case Secret():
            # Greedy up to the last @: a password may hold any character, also unescaped.
            url = re.sub(r"(://[^:@/]*):.*@", r"\1:••••@", value.reveal())
            return re.sub(r"(password=)[^&]*", r"\1••••", url)
    return str(value)
