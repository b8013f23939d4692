"""Where this process's vendor simulators listen, and the credentials they know: all that adapters share with them."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SimulatorAddress:
    """The HTTP root (`http://127.0.0.1:PORT`) that serves `/sim/{provider}/…`, and the SMTP listener."""

    http: str
    smtp_host: str
    smtp_port: int

    def base(self, provider: str) -> str:
        """What an HTTP adapter puts in place of its vendor's base URL."""
        return f"{self.http}/sim/{provider}"


def simulated_secret(provider: str, account: str) -> str:
    """The credential a simulator knows for an account name, in the shape of most vendors' tokens (32 hex digits).

    Derived, so that every process of an installation agrees on it without a registry. It protects nothing: the test
    side never carries a vendor's own credential.
    """
    return hashlib.sha256(f"tabellion simulator\0{provider}\0{account}".encode()).hexdigest()[:32]
