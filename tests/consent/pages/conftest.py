"""A whole hub with its vendors, a person or two, and their pages as a browser gets them."""

import re
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from uuid import UUID

import httpx
import pytest

from tabellion.access.service import create_workspace
from tabellion.consent.links.types import Confirm, Preferences
from tabellion.consent.questions import Ask, Verdict
from tabellion.core import ids
from tabellion.events.followers import Turn, follow
from tabellion.providers.base import Channel

from ...messages.conftest import (  # noqa: TID252 - tests are no package: there is no absolute name
    ANN,
    HOUR,
    MINUTE,
    NUMBER,
    World,
    world,
)

__all__ = ["ANN", "HOUR", "MINUTE", "NUMBER", "World", "create_workspace", "world"]

FORM = "application/x-www-form-urlencoded"


class Forms(HTMLParser):
    """The forms of a page: their hidden and ticked fields, and the buttons in them. And where its links lead."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form({}, [], values["action"]))
        elif tag == "a":
            self.links.append(values["href"])
        elif tag == "input" and (values.get("type") == "hidden" or "checked" in values):
            self.forms[-1].fields[values["name"]] = values["value"]
        elif tag == "button":
            self.forms[-1].buttons.append(values["value"])


@dataclass
class Form:
    fields: dict[str, str]
    buttons: list[str]
    action: str

    def pressed(self, button: str, **more: str) -> dict[str, str]:
        assert button in self.buttons
        return {**self.fields, "do": button, **more}


@dataclass
class People:
    """What people and their mailbox providers do."""

    world: World
    api: httpx.AsyncClient
    browser: httpx.AsyncClient

    async def link(self, person: UUID, **wanted: Any) -> str:
        answer = await self.api.post(f"/v1/recipients/{ids.show('rcp', person)}/links", json=wanted)
        assert answer.status_code == 201, answer.text
        url: str = answer.json()["url"]
        return url

    async def unsubscribe_link(self, person: UUID, channel: str = "email", purpose: str = "marketing") -> str:
        return await self.link(person, kind="unsubscribe", channel=channel, purpose=purpose)

    async def preferences_link(self, person: UUID) -> str:
        return await self.link(person, kind="preferences")

    async def open(self, url: str, **headers: str) -> httpx.Response:
        return await self.browser.get(url, headers=headers)

    async def one_click(self, url: str) -> httpx.Response:
        return await self.browser.post(url, data={"List-Unsubscribe": "One-Click"})

    async def press(self, url: str, button: str, at: int = 0, headers: Any = None, **more: str) -> httpx.Response:
        """Press a button of the page as it is now: the `at`-th of those that do this."""
        page = await self.browser.get(url, headers=headers)
        return await self.submit(url, page.text, button, at, headers, **more)

    async def submit(
        self, url: str, page: str, button: str, at: int = 0, headers: Any = None, **more: str
    ) -> httpx.Response:
        """Press a button of a page that is open."""
        forms = [one for one in Forms(page).forms if button in one.buttons]
        form = forms[at]
        return await self.browser.post(url, data=form.pressed(button, **more), headers=headers)

    async def verdict(self, to: str | UUID, channel: str = "email", purpose: str = "marketing") -> str:
        ask = Ask(self.world.ref(to), Channel(channel), purpose)
        [one] = await self.world.db.run(lambda tx: self.world.hub.consent.check(tx, self.world.side, [ask]))
        assert isinstance(one, Verdict), one
        return one.verdict

    async def entries(self) -> list[Any]:
        """What the ledger of the side has, oldest first."""
        return await self.world.rows(
            """
            select decision, channel, purpose, method, source, rank, applied, standing, recipient_id, identifier_hash,
                   person_scope
              from consent_entries where workspace_id = $1 order by log_index
            """,
            self.world.side,
        )

    async def methods(self) -> list[str]:
        return [row["method"] for row in await self.entries()]

    async def events(self, type_: str) -> list[Any]:
        rows = await self.world.rows(
            "select data from events where workspace_id = $1 and type = $2 order by position", self.world.side, type_
        )
        return [row["data"] for row in rows]

    async def follow(self) -> None:
        """Let what the log asks for be sent, and arrive."""
        follower = self.world.hub.asking.follower()
        while await follow(self.world.db, follower, follower.batch) is Turn.READ:
            pass
        await self.world.run()

    async def code(self, person: UUID) -> str:
        """The code that is on its way to a person."""
        codes, side = self.world.hub.asking.codes, self.world.side
        [(_, digits)] = await self.world.db.run(lambda tx: codes.unsent(tx, side, person))
        return digits

    async def confirm_link(self, mail: Any) -> str:
        found = re.search(r"https?://\S+/r/c/[A-Za-z0-9_-]+", mail["text"])
        assert found, mail
        return found[0]


@pytest.fixture
async def people(world: World) -> Any:
    async with httpx.AsyncClient(timeout=30) as browser:
        yield People(world, await world.http(), browser)


async def url_of(world: World, named: Preferences | Confirm) -> str:
    """A link made by the service, for times the API does not make links for."""
    links = world.hub.links
    work = links.preferences_url if isinstance(named, Preferences) else links.confirm_url
    url = await world.db.run(lambda tx: work(tx, world.side, named))  # type: ignore[arg-type]
    assert url is not None
    return url
