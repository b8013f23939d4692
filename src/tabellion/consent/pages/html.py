"""HTML as values: elements of a closed list, with text that is escaped because it is text. Pure.

There is no way to write markup but `el`, so nothing a person, a brand or a notice says can become one; and none to
write a script, a style or an address of another scheme. That is why no template engine is needed here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Final, TypeAlias

TAGS: Final = frozenset(
    (
        *("html", "head", "meta", "title", "link", "body", "main", "header", "footer", "nav", "section", "div"),
        *("p", "h1", "h2", "ul", "li", "a", "form", "button", "label", "input", "span", "strong", "bdi", "blockquote"),
    )
)
VOID: Final = frozenset({"meta", "link", "input"})
ATTRIBUTES: Final = frozenset(
    (
        *("lang", "dir", "charset", "name", "content", "rel", "href", "hreflang", "action", "method", "type", "value"),
        *("id", "for", "class", "required", "checked", "autocomplete", "inputmode", "maxlength", "pattern", "tabindex"),
        *("role", "aria-label", "aria-labelledby", "aria-describedby", "aria-current", "aria-invalid", "aria-hidden"),
    )
)
_ADDRESSES: Final = frozenset({"href", "action"})
_SCHEMES: Final = ("../", "?", "https://", "http://")
"""What addresses begin with: near pages of ours, wherever a proxy puts them; in mail, the hub as it is reached."""


@dataclass(frozen=True, slots=True)
class Element:
    tag: str
    attributes: Mapping[str, str]
    children: tuple["Node", ...] = field(default=())


Node: TypeAlias = Element | str
"""A string is text, wherever it stands."""


def el(tag: str, *children: "Node | None", **attributes: str | bool | None) -> Element:
    """One element. `class_` is `class`, `aria_label` is `aria-label`; None and False are left out, True is empty."""
    assert tag in TAGS, f"no element {tag}"
    assert not (children and tag in VOID), f"{tag} has no content"
    drawn: dict[str, str] = {}
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        known = name.rstrip("_").replace("_", "-")
        text = "" if value is True else str(value)
        assert known in ATTRIBUTES, f"no attribute {known}"
        assert known not in _ADDRESSES or text.startswith(_SCHEMES), f"no address for {known}"
        drawn[known] = text
    return Element(tag, drawn, tuple(one for one in children if one is not None))


def draw(node: Node) -> str:
    """The HTML of a node."""
    if isinstance(node, str):
        return escape(node, quote=False)
    attributes = "".join(f' {name}="{escape(value)}"' for name, value in node.attributes.items())
    if node.tag in VOID:
        return f"<{node.tag}{attributes}>"
    return f"<{node.tag}{attributes}>{''.join(map(draw, node.children))}</{node.tag}>"


def document(root: Element) -> bytes:
    """A whole page."""
    return b"<!doctype html>\n" + draw(root).encode()
