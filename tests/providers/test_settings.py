"""Account forms: from plain values to typed settings and back."""

from typing import Any

import pytest

from tabellion.core.crypto import Secret
from tabellion.core.errors import Invalid
from tabellion.providers import ALL, decode_settings, describe, expose, mask, secret_fields
from tabellion.providers.base import ProviderSettings

GOOD: dict[str, dict[str, Any]] = {
    "smtp": {"host": "mail.example.org", "username": "hub", "password": "hush", "from": "shop@example.org"},
    "twilio": {"account_sid": "AC" + "0" * 32, "auth_token": "hush", "from": "+15005550006"},
    "fake": {"secret": "hush"},
}
NAMED = {provider.name: provider for provider in ALL}


@pytest.mark.parametrize("name", sorted(GOOD))
def test_values_become_settings_and_settings_values(name: str) -> None:
    provider = NAMED[name]
    settings = decode_settings(provider, GOOD[name])
    assert GOOD[name].items() <= expose(settings).items()
    assert decode_settings(provider, expose(settings)) == settings


@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_secret_shows_nowhere(name: str) -> None:
    settings = decode_settings(NAMED[name], GOOD[name])
    assert "hush" not in f"{settings} {settings!r} {mask(settings)}"
    assert {value for key, value in mask(settings).items() if key in secret_fields(type(settings)) and value} == {
        "••••"
    }


def test_every_provider_has_an_example_here() -> None:
    assert GOOD.keys() == {provider.name for provider in ALL}


@pytest.mark.parametrize(
    ("name", "change", "pointer"),
    [
        ("twilio", {"colour": "red"}, "/settings/colour"),
        ("twilio", {"account_sid": 1}, "/settings/account_sid"),
        ("twilio", {"account_sid": "AC1"}, "/settings/account_sid"),
        ("twilio", {"auth_token": 1}, "/settings/auth_token"),
        ("twilio", {"auth_token": ""}, "/settings/auth_token"),
        ("twilio", {"from": None}, "/settings/from"),
        ("smtp", {"port": "587"}, "/settings/port"),
        ("smtp", {"security": "maybe"}, "/settings/security"),
        ("smtp", {"username": None}, "/settings/password"),
        ("fake", {"behaviour": "explode"}, "/settings/behaviour"),
    ],
)
def test_a_wrong_value_is_pointed_at(name: str, change: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Invalid) as caught:
        decode_settings(NAMED[name], GOOD[name] | change)
    assert [error.pointer for error in caught.value.errors] == [pointer]
    assert "hush" not in str(caught.value)


def test_a_missing_value_is_pointed_at() -> None:
    for name, missing in (("twilio", "auth_token"), ("smtp", "host"), ("fake", "secret")):
        values = {key: value for key, value in GOOD[name].items() if key != missing}
        with pytest.raises(Invalid) as caught:
            decode_settings(NAMED[name], values, at="")
        assert caught.value.errors[0].pointer == f"/{missing}"


def test_a_form_describes_itself() -> None:
    fields = {field.name: field for field in describe(NAMED["twilio"].settings_type)}
    assert fields["auth_token"].secret
    assert fields["auth_token"].required
    assert fields["secondary_auth_token"].secret
    assert not fields["secondary_auth_token"].required
    assert fields["base_url"].default == "https://api.twilio.com"
    assert fields["from"].type == "str"
    security = next(field for field in describe(NAMED["smtp"].settings_type) if field.name == "security")
    assert security.type == '"none" | "starttls" | "tls"'


def test_the_documented_fields_are_the_fields() -> None:
    """`api.md` names these; more may come, none may go."""
    documented = {
        "smtp": ({"host", "port", "security", "username", "from"}, {"password"}),
        "twilio": ({"account_sid", "from", "messaging_service_sid", "base_url"}, {"auth_token"}),
        "fake": ({"behaviour"}, set[str]()),
    }
    for name, (plain, secret) in documented.items():
        kind: type[ProviderSettings] = NAMED[name].settings_type
        assert plain | secret <= {field.name for field in describe(kind)}
        assert secret <= secret_fields(kind)


def test_settings_hold_secrets_as_secrets() -> None:
    settings = decode_settings(NAMED["fake"], GOOD["fake"])
    assert settings.secret == Secret("hush")
