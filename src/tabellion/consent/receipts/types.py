"""The refusals of receipts."""

from tabellion.core.errors import HubError


class Erased(HubError):
    """The person was erased: what the entry was about is gone, and what is left proves nothing about anybody (410)."""

    def __init__(self) -> None:
        detail = (
            "the person was erased, so the hub can issue no receipt any more; one that was handed out earlier still"
            " verifies, and what is held as proof opens under /v1/proofs"
        )
        super().__init__("person_erased", detail, 410)
