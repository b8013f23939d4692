"""Pure rules of accounts: departures, shrinking and growing, which vendor hosts are allowed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any, Final

import msgspec

from tabellion.accounts.types import Pace
from tabellion.core.addresses import Address, AddressPolicy
from tabellion.core.http import Refused
from tabellion.providers.base import ProviderSettings

START_RATE: Final = 200.0
"""Departures a second that an account begins with when its vendor first says "too many"."""
LOWEST_RATE: Final = 0.2
FREE_RATE: Final = 2_000.0
"""An account without a limit that grew to this goes unpaced again."""
GROWTH: Final = 5.0
"""Departures a second won back by each second with a success."""
STEP: Final = timedelta(seconds=1)
"""At most one shrink and one growth in it: a burst of refusals is one piece of news."""
LONGEST_PAUSE: Final = timedelta(minutes=10)
LONG_AGO: Final = datetime(2000, 1, 1, tzinfo=UTC)


def unpaced(ceiling: float) -> Pace:
    """The pace of an account with a limit, before it was used."""
    return Pace(ceiling, ceiling, LONG_AGO, LONG_AGO, LONG_AGO, LONG_AGO)


def departures(pace: Pace, count: int, now: datetime) -> tuple[list[datetime], Pace]:
    """The next count departure times, evenly spaced, none in the past or in a pause; and the pace after them."""
    apart = timedelta(seconds=1 / pace.rate)
    first = max(now, pace.next_at, pace.paused_until)
    times = [first + apart * place for place in range(count)]
    return times, replace(pace, next_at=first + apart * count)


def shrunk(pace: Pace | None, now: datetime, retry_after: float | None) -> Pace:
    """The pace after the vendor said "too many": half the rate, and a pause as long as it asked for."""
    pause = min(timedelta(seconds=max(0.0, retry_after or 0.0)), LONGEST_PAUSE)
    if pace is None:
        return Pace(START_RATE, None, now, now + pause, now, now)
    paused_until = max(pace.paused_until, now + pause)
    if now - pace.shrunk_at < STEP:
        return replace(pace, paused_until=paused_until)
    return replace(pace, rate=max(LOWEST_RATE, pace.rate / 2), paused_until=paused_until, shrunk_at=now, grown_at=now)


def grown(pace: Pace, now: datetime) -> Pace | None:
    """The pace after a success; None when the account needs no pacing any more."""
    if now - pace.grown_at < STEP or now < pace.paused_until:
        return pace
    rate = min(pace.rate + GROWTH, pace.ceiling or FREE_RATE)
    if pace.ceiling is None and rate >= FREE_RATE:
        return None
    return replace(pace, rate=rate, grown_at=now)


def limited(pace: Pace | None, ceiling: float | None) -> Pace | None:
    """The pace after a limit was set or lifted; None when nothing paces the account."""
    if ceiling is None:
        return replace(pace, ceiling=None) if pace and pace.shrunk_at > LONG_AGO else None
    return replace(pace, ceiling=ceiling, rate=min(pace.rate, ceiling)) if pace else unpaced(ceiling)


# hosts


@dataclass(frozen=True, slots=True)
class CustomHosts:
    """Which vendor hosts besides the vendor's own the installation allows: addresses by network, names one by one."""

    addresses: AddressPolicy = field(default_factory=AddressPolicy)
    names: frozenset[str] = frozenset()

    def allows(self, settings: ProviderSettings) -> bool:
        """Whether a live account may use the host its settings name.

        A host put in place of the vendor's own must be listed. One that an account always has to be given (a mail
        server's) may be any public one; where it is a name, it is checked when it is resolved for a connection.
        """
        name, port = endpoint(settings.host())
        address = _address(name)
        if name in self.names:
            return True
        if is_custom(settings):
            return address is not None and self._lists(address, port)
        return address is None or self._checks(address, port)

    def opened(self, settings: ProviderSettings) -> bool:
        """Whether the operator opened the network of this host, also for clear text and any port."""
        return self.addresses.opens(*endpoint(settings.host()))

    def _lists(self, address: Address, port: int) -> bool:
        listed = (address, port) in self.addresses.endpoints or any(address in one for one in self.addresses.networks)
        return listed and self._checks(address, port)

    def _checks(self, address: Address, port: int) -> bool:
        try:
            self.addresses.check(str(address), port, encrypted=True)
        except Refused:
            return False
        return True


def endpoint(host: str) -> tuple[str, int]:
    """Name and port of a `scheme://host:port`."""
    name, _, port = host.partition("://")[2].rpartition(":")
    return name.strip("[]").rstrip(".").lower(), int(port)


def _address(name: str) -> Address | None:
    try:
        return ip_address("127.0.0.1" if name == "localhost" or name.endswith(".localhost") else name)
    except ValueError:
        return None


def is_custom(settings: ProviderSettings) -> bool:
    """Whether the settings put another host in place of the vendor's own."""
    defaults: Mapping[str, Any] = {one.name: one.default for one in msgspec.structs.fields(settings)}
    return "base_url" in defaults and getattr(settings, "base_url", None) != defaults["base_url"]
