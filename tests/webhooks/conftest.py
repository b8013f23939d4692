"""The hub and the vendors of `tests/messages`: callbacks are about messages."""

from ..messages.conftest import (  # noqa: TID252 - tests are no package: there is no absolute name
    ACCOUNT,
    ANN,
    HOUR,
    MINUTE,
    NUMBER,
    ONCE,
    OTHER_NUMBER,
    SECOND,
    SECRET,
    World,
    fake_callback,
    mail,
    sms,
    world,
)

__all__ = [
    "ACCOUNT",
    "ANN",
    "HOUR",
    "MINUTE",
    "NUMBER",
    "ONCE",
    "OTHER_NUMBER",
    "SECOND",
    "SECRET",
    "World",
    "fake_callback",
    "mail",
    "sms",
    "world",
]
