"""The settings: where a value comes from, what is refused, what is shown."""

from pathlib import Path
from typing import Any

import pytest

from tabellion.core.config import DESCRIPTIONS, NAMES, OPTIONS, Config, Role, load
from tabellion.core.crypto import Secret
from tabellion.core.errors import Misconfigured


def shown(config: Config) -> dict[str, tuple[str, str]]:
    return {line.name: (line.value, line.origin) for line in config.shown()}


def refusal(environ: dict[str, str], options: dict[str, Any] | None = None, folder: Path = Path("/nowhere")) -> str:
    with pytest.raises(Misconfigured) as refused:
        load(environ, options, folder)
    return str(refused.value)


def test_nothing_set_is_a_hub_on_loopback_that_reaches_no_private_network(tmp_path: Path) -> None:
    settings = load({}, {}, tmp_path).settings
    assert settings.address == ("127.0.0.1", 8080)
    assert settings.roles == (Role.API, Role.WORKER, Role.FOLLOWERS)
    assert settings.allow_private_networks == ()
    assert settings.database_url is None
    assert settings.data == Path("tabellion-data")
    assert settings.keys_folder == Path("tabellion-data.keys")
    assert settings.drain_seconds == 15
    assert settings.backup_window == 35


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "tabellion.toml").write_text(
        'data = "/file"\nlisten = "0.0.0.0:1"\npublic_url = "https://file.example"\nroles = ["worker"]\n'
    )
    environ = {"TABELLION_LISTEN": "0.0.0.0:2", "TABELLION_DATA": "/environment"}
    found = shown(load(environ, {"data": Path("/option"), "keys": None}, tmp_path))
    assert found["data"] == ("/option", "--data")
    assert found["listen"] == ("0.0.0.0:2", "TABELLION_LISTEN")
    assert found["public_url"] == ("https://file.example", str(tmp_path / "tabellion.toml"))
    assert found["roles"] == ("worker", str(tmp_path / "tabellion.toml"))
    assert found["keys"] == ("", "default")


def test_lists_are_comma_separated_outside_the_file(tmp_path: Path) -> None:
    settings = load(
        {"TABELLION_ALLOW_PRIVATE_NETWORKS": "10.0.0.0/8, fd00::/8,", "TABELLION_ROLES": "api,worker"}, {}, tmp_path
    ).settings
    assert settings.allow_private_networks == ("10.0.0.0/8", "fd00::/8")
    assert settings.roles == (Role.API, Role.WORKER)


def test_a_named_file_is_read_and_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("drain_seconds = 3\n")
    environ = {"TABELLION_CONFIG": str(tmp_path / "mine.toml")}
    assert load(environ, {}, tmp_path).settings.drain_seconds == 3
    assert "missing.toml cannot be read" in refusal({"TABELLION_CONFIG": str(tmp_path / "missing.toml")})


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"TABELLION_ROLES": "apis"}, "roles (TABELLION_ROLES): Invalid enum value 'apis'"),
        ({"TABELLION_ROLES": ","}, "roles (TABELLION_ROLES): name at least one"),
        ({"TABELLION_LISTEN": "8080"}, "listen (TABELLION_LISTEN): '8080' is not HOST:PORT"),
        ({"TABELLION_LISTEN": "127.0.0.1:99999"}, "is not HOST:PORT"),
        ({"TABELLION_PUBLIC_URL": "hub.example.org"}, "public_url (TABELLION_PUBLIC_URL): 'hub.example.org' is not"),
        ({"TABELLION_PUBLIC_URL": "https://hub.example.org/?a=1"}, "is not an address such as"),
        ({"TABELLION_ALLOW_PRIVATE_NETWORKS": "10.0.0.1/8"}, "10.0.0.1/8 has host bits set"),
        ({"TABELLION_BEHIND_PROXY": "proxy"}, "behind_proxy (TABELLION_BEHIND_PROXY)"),
        ({"TABELLION_DRAIN_SECONDS": "soon"}, "drain_seconds (TABELLION_DRAIN_SECONDS): Expected `float`"),
        ({"TABELLION_BACKUP_WINDOW": "0"}, "backup_window (TABELLION_BACKUP_WINDOW): Expected `int` >= 1"),
        ({"TABELLION_DATABASE_CONNECTIONS": "0"}, "Expected `int` >= 2"),
        ({"TABELLION_DATA": ""}, "data (TABELLION_DATA): Expected a text that is not empty"),
    ],
)
def test_a_wrong_value_is_refused_with_its_origin(environ: dict[str, str], says: str) -> None:
    assert says in refusal(environ)


def test_a_wrong_value_of_the_command_line_is_named_as_it_was_typed() -> None:
    assert "listen (--listen)" in refusal({}, {"listen": "x"})
    assert "database_url (--database)" in refusal({}, {"database_url": "mysql://h/d"})


def test_a_name_nobody_knows_is_refused_in_the_file_and_reported_from_the_environment(tmp_path: Path) -> None:
    assert load({"TABELLION_PUBLICURL": "x", "TABELLION_KEYS": "/k"}, {}, tmp_path).unread == ("TABELLION_PUBLICURL",)
    (tmp_path / "tabellion.toml").write_text('publicurl = "x"\n')
    assert "sets publicurl, which is no setting" in refusal({}, {}, tmp_path)


def test_a_file_that_is_no_toml_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "tabellion.toml").write_text("listen = \n")
    assert f"{tmp_path}/tabellion.toml cannot be read" in refusal({}, {}, tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:hunter2@db.example/hub",
        "postgresql://ann:hunter2:hunter2@db.example/hub",
        "postgresql://ann:hunter2/hunter2@db.example/hub",
        "postgresql://ann:hunter2@hunter2@db.example/hub",
        "postgresql://db.example/hub?user=ann&password=hunter2",
        "postgresql://db.example/hub?sslpassword=hunter2&user=ann",
    ],
)
def test_the_password_of_a_database_is_never_shown(url: str, tmp_path: Path) -> None:
    config = load({"TABELLION_DATABASE_URL": url}, {}, tmp_path)
    assert config.settings.database_url == Secret(url)
    everything = f"{config} {config.settings} {config.shown()}"
    assert "hunter2" not in everything
    assert "db.example/hub" in shown(config)["database_url"][0]
    assert "hunter2" not in refusal({"TABELLION_DATABASE_URL": url.replace("postgresql", "mysql")})


def test_an_own_database_needs_its_keys_folder_named(tmp_path: Path) -> None:
    environ = {"TABELLION_DATABASE_URL": "postgresql://db.example/hub"}
    with pytest.raises(Misconfigured, match="--keys or TABELLION_KEYS") as refused:
        _ = load(environ, {}, tmp_path).settings.keys_folder
    assert refused.value.code == "keys_required"
    assert load(environ, {"keys": "/keys"}, tmp_path).settings.keys_folder == Path("/keys")


@pytest.mark.parametrize(
    ("listen", "address"), [("0.0.0.0:80", ("0.0.0.0", 80)), ("[::1]:0", ("::1", 0)), ("hub:1", ("hub", 1))]
)
def test_an_address_may_be_of_either_kind(listen: str, address: tuple[str, int], tmp_path: Path) -> None:
    assert load({}, {"listen": listen}, tmp_path).settings.address == address


def test_every_setting_says_what_it_is_for_and_has_an_option() -> None:
    assert set(NAMES) == set(DESCRIPTIONS) == set(OPTIONS)
    assert all(DESCRIPTIONS.values())
