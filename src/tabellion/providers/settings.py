"""Account settings from and to plain values. The settings type of a provider is the only description of its form."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from tabellion.core.crypto import Secret
from tabellion.core.errors import FieldError, Invalid
from tabellion.providers.base import Provider, ProviderSettings, S

MASK: Final = "••••"
_FIELD: Final = re.compile(r"field `([^`]+)`")
_PATH: Final = re.compile(r" - at `\$(?P<path>[^`]*)`$")


@dataclass(frozen=True, slots=True)
class SettingField:
    """One line of an account's form."""

    name: str
    secret: bool
    required: bool
    type: str
    default: Any = None


def decode_settings(provider: Provider[S], values: Mapping[str, Any], at: str = "/settings") -> S:
    """The typed settings. Raises `Invalid` with a pointer below `at` to the wrong field."""
    try:
        return msgspec.convert(dict(values), provider.settings_type, dec_hook=_read, strict=True)
    except msgspec.ValidationError as error:
        wrong = _wrong(str(error), at)
        raise Invalid(
            "settings_invalid", f"the settings of a {provider.name} account are wrong: {wrong.detail}", wrong
        ) from None


def expose(settings: ProviderSettings) -> dict[str, Any]:
    """The settings as plain values with open secrets: for sealing, and for nothing else."""
    plain: dict[str, Any] = msgspec.to_builtins(settings, enc_hook=_open)
    return plain


def mask(settings: ProviderSettings) -> dict[str, Any]:
    """The settings as they may be shown: set secrets are dots."""
    plain: dict[str, Any] = msgspec.to_builtins(settings, enc_hook=_dots)
    return plain


def secret_fields(kind: type[ProviderSettings]) -> frozenset[str]:
    """The names, as people write them, of the fields to seal and mask."""
    return frozenset(field.name for field in describe(kind) if field.secret)


def describe(kind: type[ProviderSettings]) -> list[SettingField]:
    """The form of an account: its fields in order."""
    return [_described(field) for field in msgspec.structs.fields(kind)]


def _described(field: msgspec.structs.FieldInfo) -> SettingField:
    parts = getattr(field.type, "__args__", (field.type,))
    secret = Secret in parts
    named = "secret" if secret else " | ".join(_named(part) for part in parts if part is not type(None))
    default = None if field.default is msgspec.NODEFAULT else field.default
    return SettingField(field.encode_name, secret, field.required, named, default)


def _named(part: Any) -> str:
    return part.__name__ if isinstance(part, type) else f'"{part}"'


def _read(kind: type[Any], value: Any) -> Any:
    if kind is not Secret:
        raise NotImplementedError(kind)
    if not isinstance(value, str):
        raise ValueError(f"Expected `str`, got `{type(value).__name__}`")
    if not value:
        raise ValueError("Expected a value, got an empty one")
    return Secret(value)


def _open(value: Any) -> Any:
    return value.reveal() if isinstance(value, Secret) else _unknown(value)


def _dots(value: Any) -> Any:
    return MASK if isinstance(value, Secret) else _unknown(value)


def _unknown(value: Any) -> Any:
    raise NotImplementedError(type(value))


def _wrong(message: str, at: str) -> FieldError:
    """Where and what, from msgspec's text: `… - at `$.from``, or a field named in it."""
    place = _PATH.search(message)
    detail = _PATH.sub("", message)
    path = place["path"].replace(".", "/") if place else ""
    named = _FIELD.search(detail)
    return FieldError(f"{at}{path}/{named[1]}" if named else f"{at}{path}", detail)
