"""What a witness keeps: its key, the logs it was told to watch, the last checkpoint it cosigned of each.

A folder of its own, apart from any database: `witness.key`, `logs` (a verifier key a line), `state/` with one signed
note an origin. Whoever writes holds a lock, so that commands and processes can share the folder.
"""

import fcntl
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

from tabellion.core.errors import Misconfigured
from tabellion.core.files import write_file, write_new
from tabellion.ledger import note

_KEY: Final = "witness.key"
_LOGS: Final = "logs"


class Folder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def prepare(self, name: str) -> note.Cosigner:
        """The witness's key, made under this name where there is none yet."""
        for folder in (self.path, self._states):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = note.Cosigner.new(name)
        write_new(self.path / _KEY, f"{name}\n{b64encode(made.private_key()).decode()}\n".encode())
        return self.cosigner()

    def cosigner(self) -> note.Cosigner:
        """The witness's key. Raises `Misconfigured` where there is none, or it cannot be read."""
        try:
            name, key = (self.path / _KEY).read_text().split()
            return note.Cosigner.of(name, b64decode(key, validate=True))
        except FileNotFoundError:
            raise Misconfigured(
                "witness_missing", f"there is no witness in {self.path}; `tabellion witness run` makes one"
            ) from None
        except (OSError, ValueError) as error:
            raise Misconfigured(
                "witness_unreadable", f"{self.path / _KEY} cannot be used ({type(error).__name__}); restore it"
            ) from None

    def trusted(self, origin: str = "") -> list[note.Verifier]:
        """The keys of the logs to watch, or of this one alone; a log that changed its key has several."""
        begins = f"{origin}+" if origin else ""
        try:
            lines = (self.path / _LOGS).read_text().splitlines()
            return [note.parse_verifier(line) for line in lines if line and line.startswith(begins)]
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise Misconfigured("witness_unreadable", f"{self.path / _LOGS} cannot be used: {error}") from None

    def trust(self, logs: Iterable[note.Verifier]) -> list[note.Verifier]:
        """Watch these logs too; those that were not watched before."""
        with self._alone("logs"):
            known = self.trusted()
            added = [one for one in dict.fromkeys(logs) if one not in known]
            if added:
                write_file(self.path / _LOGS, "".join(f"{one.line()}\n" for one in (*known, *added)).encode())
        return added

    @contextmanager
    def alone(self, origin: str) -> Iterator[None]:
        """Nobody else compares and keeps a checkpoint of this log meanwhile, in whichever thread or process."""
        with self._alone(hash_of(origin)):
            yield

    def last(self, origin_hash: str) -> str | None:
        """The last checkpoint of a log that was cosigned here, with the cosignature; None where there is none."""
        try:
            return (self._states / origin_hash).read_bytes().decode()
        except FileNotFoundError:
            if self._states.is_dir():
                return None
            raise

    def keep(self, origin: str, signed: str) -> None:
        """Put this checkpoint in the place of the last one, durably."""
        write_file(self._states / hash_of(origin), signed.encode())

    @property
    def _states(self) -> Path:
        return self.path / "state"

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        with (self.path / f".{name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def hash_of(origin: str) -> str:
    """How tlog-witness names a log in an address."""
    return sha256(origin.encode()).hexdigest()
