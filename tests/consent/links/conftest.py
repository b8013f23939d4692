"""The hub of the page tests."""

from ..pages.conftest import People, World, people, world  # noqa: TID252 - tests are no package

__all__ = ["People", "World", "people", "world"]
