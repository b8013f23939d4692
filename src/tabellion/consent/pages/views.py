"""The pages themselves, as HTML: one column, no script, what matters first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tabellion.consent.links.rules import HIDDEN, masked
from tabellion.consent.pages.html import Element, Node, document, el
from tabellion.consent.pages.service import Asking, Centre, Choice, Leaving, Section, Titles
from tabellion.consent.pages.settings import Gpc
from tabellion.consent.pages.texts import Language, Texts

NEAR: Final = "../"
"""Where other pages lie from `/r/{word}/{token}`: also behind a proxy that puts the hub below a path."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What is around every page."""

    texts: Texts
    language: Language
    brand: str | None = None
    nonce: str = ""
    """What forms carry."""
    near: str = NEAR

    @property
    def query(self) -> str:
        """Keeps the language through a form."""
        return f"?lang={self.language.code}"

    def page(self, title: str, *content: Node | None, told: str | None = None) -> bytes:
        """A whole page. `title` is a key, and so is `told`, what came of the last form: who hears pages hears it first.

        A screen reader reads the title of a page that it opens, and what has the role of a message only when it comes.
        """
        said = self.language
        name = f"{said.text(told, brand=self.brand or '')} {said.text(title)}" if told else said.text(title)
        head = el(
            "head",
            el("meta", charset="utf-8"),
            el("meta", name="viewport", content="width=device-width, initial-scale=1"),
            el("meta", name="color-scheme", content="light dark"),
            el("meta", name="robots", content="noindex"),
            el("title", f"{name} · {self.brand}" if self.brand else name),
            el("link", rel="stylesheet", href=f"{self.near}style.css"),
        )
        main = el("main", self._brand(), el("h1", said.text(title)), *content)
        body = el("body", main, self._footer())
        return document(el("html", head, body, lang=said.code, dir=said.direction))

    def _brand(self) -> Element | None:
        if not self.brand:
            return None
        badge = el("span", self.brand[:1].upper(), class_="badge", aria_hidden="true")
        return el("p", badge, el("bdi", self.brand), class_="brand")

    def _footer(self) -> Element:
        sent = [el("p", *self.language.nodes("footer", brand=self.brand))] if self.brand else []
        links = [self._link(one) for one in self.texts.languages.values()]
        return el("footer", el("nav", el("ul", *links), aria_label=self.language.text("language_choice")), *sent)

    def _link(self, one: Language) -> Element:
        here = "true" if one.code == self.language.code else None
        name = el("a", one.name, href=f"?lang={one.code}", lang=one.code, dir=one.direction, hreflang=one.code,
                  aria_current=here)  # fmt: skip
        return el("li", name)

    def form(self, *content: Node | None, **hidden: str) -> Element:
        """A form of this page. It does what the button that was pressed says: without one, nothing."""
        fields = [el("input", type="hidden", name=name, value=value) for name, value in hidden.items()]
        nonce = el("input", type="hidden", name="nonce", value=self.nonce)
        return el("form", nonce, *fields, *content, method="post", action=self.query)

    def button(self, key: str, does: str, style: str = "primary", about: str | None = None) -> Element:
        """A button that does something; `about` is what it is about, for who does not see what it stands beside."""
        label: list[Node] = [self.language.text(key)]
        if about:
            label.append(el("span", f": {about}", class_="unseen"))
        return el("button", *label, type="submit", name="do", value=does, class_=style)

    def say(self, key: str, **values: str) -> Element:
        return el("p", *self.language.nodes(key, **values))

    def told(self, key: str | None, *, wrong: bool = False) -> Element | None:
        """What came of the last form."""
        if key is None:
            return None
        return el(
            "p",
            self.language.text(key, brand=self.brand or ""),
            role="alert" if wrong else "status",
            class_="wrong" if wrong else "done",
        )


# pages that tell nothing


def unknown(frame: Frame) -> bytes:
    """The one page for whatever is no link of ours."""
    return frame.page("unknown_title", frame.say("unknown_text"))


def expired(frame: Frame) -> bytes:
    return frame.page("expired_title", frame.say("expired_text"))


def busy(frame: Frame, *, everything: bool = False) -> bytes:
    """To wait a minute; with `everything`, that can be turned off at once."""
    return frame.page("busy_title", frame.say("busy_text"), _everything(frame) if everything else None)


# unsubscribe


def leaving(frame: Frame, page: Leaving, told: str | None = None) -> bytes:
    said = frame.language
    channel, purpose = said.channel(page.named.channel), said.purpose(page.purpose, page.titles)
    return frame.page(
        "unsubscribe_title",
        frame.told(told, wrong=True),
        frame.say("unsubscribe_text", purpose=purpose, brand=page.brand, channel=channel),
        frame.form(frame.button("unsubscribe_button", "this")),
        el(
            "section",
            frame.say("unsubscribe_all_text", brand=page.brand),
            frame.form(frame.button("unsubscribe_all_button", "everything", "quiet")),
        ),
        told=told,
    )


def leaving_hastily(frame: Frame) -> bytes:
    """The same button on a page that nothing was read for."""
    return frame.page("unsubscribe_title", frame.form(frame.button("unsubscribe_button", "this")))


def clicked(frame: Frame) -> bytes:
    """What a mailbox provider gets, which shows it to nobody."""
    return frame.page("unsubscribed_title")


def left(frame: Frame, page: Leaving, undo: str | None, *, everything: bool) -> bytes:
    said = frame.language
    if everything:
        told = frame.say("unsubscribed_all_text", brand=page.brand)
    else:
        channel, purpose = said.channel(page.named.channel), said.purpose(page.purpose, page.titles)
        told = frame.say("unsubscribed_text", purpose=purpose, brand=page.brand, channel=channel)
    again = [frame.say("unsubscribed_undo"), _link(frame, "unsubscribed_undo_link", undo)] if undo else []
    return frame.page("unsubscribed_title", el("div", told, role="status"), *again)


def _link(frame: Frame, key: str, path: str) -> Element:
    """A link to another page."""
    there = path.removeprefix("/r/")
    return el("p", el("a", frame.language.text(key), href=f"{frame.near}{there}{frame.query}", class_="link"))


# preferences


def centre(frame: Frame, page: Centre, *, signal: bool, told: str | None = None, wrong: bool = False) -> bytes:
    sections, whole = [_section(frame, page, one) for one in page.sections], page.named.only is None
    return frame.page(
        "preferences_title",
        frame.told(told, wrong=wrong),
        frame.say("preferences_text", brand=page.brand) if sections else frame.say("preferences_empty"),
        _signal(frame) if signal and whole and page.settings.gpc is not Gpc.IGNORE else None,
        *sections,
        el("p", frame.language.text("code_needed"), class_="hint") if sections else None,
        _everything(frame) if sections and whole else None,
        told=told,
    )


def _section(frame: Frame, page: Centre, section: Section) -> Element:
    said, one = frame.language, section.place
    head, address = f"at-{section.name}-{one.channel}", _address(page, section)
    rows = [_choice(frame, section, choice, page.titles) for choice in section.choices]
    shown = (" ", el("bdi", address, dir="ltr", class_="address")) if address != HIDDEN else ()
    title = el("h2", said.channel(one.channel), *shown, id=head)
    hint = None if section.grantable else el("p", said.text("app_only"), class_="hint")
    return el("section", title, el("ul", *rows, class_="choices"), hint, aria_labelledby=head)


def _address(page: Centre, section: Section) -> str:
    """What is shown of an address: nothing to who came by an unsubscribe link, which may have been forwarded."""
    one = section.place.identifier
    return HIDDEN if page.named.only else masked(one.kind, one.value)


def _choice(frame: Frame, section: Section, choice: Choice, titles: Titles) -> Element:
    said = frame.language
    name = said.purpose(choice.purpose, titles)
    state = el("span", said.text(choice.state), class_=f"state {choice.state}")
    brand = el("bdi", choice.brand, class_="whose") if choice.brand else None
    about = f"{name}, {said.channel(section.place.channel)}"
    hidden = {"at": section.name, "channel": section.place.channel.value, "purpose": choice.purpose.key}
    button = None
    if choice.state == "on":
        button = frame.button("turn_off", "off", "small", about)
    elif section.grantable:
        button = frame.button("turn_on", "on", "small", about)
    form = frame.form(button, **hidden) if button else None
    return el("li", el("div", el("strong", el("bdi", name)), brand, state, class_="what"), form)


def _signal(frame: Frame) -> Element:
    said = frame.language
    form = frame.form(_tick("gpc", said.text("gpc_label"), ticked=True), frame.button("gpc_button", "gpc"))
    return el("section", el("h2", said.text("gpc_title"), id="privacy"), frame.say("gpc_text"), form,
              class_="signal", aria_labelledby="privacy")  # fmt: skip


def _tick(name: str, label: str, *, ticked: bool = False) -> Element:
    """A box to tick; one that is not ticked beforehand has to be."""
    box = el("input", type="checkbox", name=name, value="yes", id=name, checked=ticked, required=not ticked)
    return el("label", box, el("span", label), for_=name, class_="tick")


def _everything(frame: Frame) -> Element:
    said = frame.language
    return el(
        "section",
        el("h2", said.text("everything_title"), id="everything"),
        frame.say("everything_text"),
        frame.form(frame.button("everything_button", "everything", "quiet")),
        aria_labelledby="everything",
    )


def code(frame: Frame, page: Centre, section: Section, purpose: str, told: str | None = None) -> bytes:
    """Asks for the code that was sent."""
    said, one = frame.language, section.place
    hidden = {"at": section.name, "channel": one.channel.value, "purpose": purpose}
    field = el(
        "input", type="text", id="code", name="code", inputmode="numeric", autocomplete="one-time-code", maxlength="12",
        pattern="[0-9 ]*", required=True, class_="code", dir="ltr", aria_describedby="wrong" if told else None,
        aria_invalid="true" if told else None,
    )  # fmt: skip
    wrong = el("p", said.text(told), id="wrong", role="alert", class_="wrong") if told else None
    label = el("label", said.text("code_label"), for_="code")
    return frame.page(
        "code_title",
        el("p", *said.nodes("code_text", address=_address(page, section)), role="status"),
        wrong,
        frame.form(label, field, frame.button("code_button", "grant"), **hidden),
        _back(frame),
        told=told,
    )


def _back(frame: Frame) -> Element:
    return el("p", el("a", frame.language.text("back"), href=frame.query, class_="link"))


# confirm


def asking(frame: Frame, page: Asking, notice: tuple[str, str] | None = None, told: str | None = None) -> bytes:
    said, one = frame.language, page.waiting
    agreed: Sequence[Node] = []
    if notice:
        text, language = notice
        paragraphs = [el("p", part.strip()) for part in text.split("\n\n") if part.strip()]
        agreed = [frame.say("confirm_notice"), el("blockquote", *paragraphs, tabindex="0", lang=language, dir="auto")]
    return frame.page(
        "confirm_title",
        frame.told(told, wrong=True),
        frame.say(
            "confirm_text",
            brand=page.brand,
            purpose=said.purpose(page.purpose, page.titles),
            channel=said.channel(one.channel),
            address=masked(one.identifier.kind, one.identifier.value),
        ),
        *agreed,
        frame.form(_tick("agree", said.text("confirm_label")), frame.button("confirm_button", "confirm")),
        el("p", said.text("confirm_ignore"), class_="hint"),
        told=told,
    )


def confirmed(frame: Frame, page: Asking, *, already: bool = False) -> bytes:
    said = frame.language
    channel, purpose = said.channel(page.waiting.channel), said.purpose(page.purpose, page.titles)
    told = frame.say("confirmed_already") if already else frame.say(
        "confirmed_text", purpose=purpose, brand=page.brand, channel=channel
    )  # fmt: skip
    return frame.page("confirmed_title", el("div", told, role="status"))


def refused(frame: Frame, page: Asking) -> bytes:
    return frame.page("confirm_title", el("div", frame.say("confirm_refused", brand=page.brand), role="alert"))
