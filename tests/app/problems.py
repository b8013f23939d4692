"""What tests of the HTTP edge have in common."""

from typing import Any

import httpx
import pytest

PROBLEM = "application/problem+json"
BOTH = pytest.mark.parametrize("path", ["/v1/hot", "/v1/cold"])
"""A hot and a typed route that do the same."""


def problem(response: httpx.Response) -> dict[str, Any]:
    """The problem a response is, checked for its form."""
    assert response.headers["content-type"] == PROBLEM
    said: dict[str, Any] = response.json()
    assert said["status"] == response.status_code
    assert said["type"] == "urn:tabellion:problem:" + said["code"]
    assert set(said) <= {"type", "title", "status", "code", "detail", "errors"}
    assert "Traceback" not in response.text
    return said
