"""The hub and the vendors of `tests/messages`: what is held about people comes of sending to them."""

from ..messages.conftest import (  # noqa: TID252 - tests are no package: there is no absolute name
    ANN,
    NUMBER,
    OTHER_NUMBER,
    SECRET,
    World,
    world,
)

__all__ = ["ANN", "NUMBER", "OTHER_NUMBER", "SECRET", "World", "world"]
