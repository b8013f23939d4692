"""The commands that check what a hub gave out. They need no hub, no database and no settings: only keys and files."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tabellion.app.output import print_text
from tabellion.core.errors import HubError, Invalid
from tabellion.ledger.verifier import command
from tabellion.ledger.verifier.command import Asked, Believed, Reach
from tabellion.ledger.verifier.report import Report, Unusable

Keys = Annotated[
    tuple[str, ...], Parameter(name="--key", negative="", help="A verifier key of the log: origin+id+key. Repeatable.")
]
KeyLists = Annotated[
    tuple[Path, ...],
    Parameter(name="--keys", negative="", help="A file of keys: the JSON of /v1/ledger/keys, or a key a line."),
]
Witnesses = Annotated[
    tuple[str, ...], Parameter(name="--witness", negative="", help="The verifier key of a witness. Repeatable.")
]
Quorum = Annotated[int | None, Parameter(help="How many of the witnesses must have cosigned; else all.")]
Jwks = Annotated[Path | None, Parameter(help="The hub's /.well-known/jwks.json, which signs what is handed out.")]
Token = Annotated[Path | None, Parameter(help="A file with an API key for a URL (else TABELLION_TOKEN).")]
Insecure = Annotated[bool, Parameter(negative="", help="Allow plain http.")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="One line of JSON for programs.")]


def verify_ledger(
    *,
    key: Keys = (),
    keys: KeyLists = (),
    from_: Annotated[str, Parameter(name="--from", help="A folder, or the URL prefix of a log.")] = ".",
    since: Annotated[Path | None, Parameter(help="A checkpoint kept before, that the log must begin with.")] = None,
    witness: Witnesses = (),
    quorum: Quorum = None,
    compare: Annotated[str | None, Parameter(help="An older copy: names the first entry that differs.")] = None,
    records: Annotated[Path | None, Parameter(help="A folder of receipts (*.tlog-proof) that must hold.")] = None,
    previous: Annotated[Path | None, Parameter(help="The last checkpoint of the log that this one succeeds.")] = None,
    jwks: Jwks = None,
    token_file: Token = None,
    insecure_http: Insecure = False,
    json: Json = False,
) -> None:
    """Recompute a log from its entries and tiles, and check who signed it. Trusts the keys named and nothing else.

    Exit code 0: it holds; 1: it does not, and each WRONG line says where; 2: nothing can be said.
    """
    asked = Asked(
        from_, Believed(key, keys, witness, quorum), since, previous, compare, records, jwks,
        Reach(token_file, insecure_http), quiet=json,
    )  # fmt: skip
    try:
        report = asked.verify()
    except Unusable as error:
        raise Invalid("nothing_verified", str(error)) from None
    _tell(report, json=json)


def verify_receipt(
    file: Annotated[Path, Parameter(help="A receipt: a .tlog-proof file.")],
    /,
    *,
    key: Keys = (),
    keys: KeyLists = (),
    witness: Witnesses = (),
    quorum: Quorum = None,
    from_: Annotated[
        str | None, Parameter(name="--from", help="The log, for a receipt that discloses no record: a folder or URL.")
    ] = None,
    token_file: Token = None,
    insecure_http: Insecure = False,
    json: Json = False,
) -> None:
    """Check a receipt, and show the record it discloses: that it was recorded, in which log, and where.

    Exit code 0: it holds; 1: it does not; 2: nothing can be said.
    """
    try:
        report = command.verify_receipt(
            file, Believed(key, keys, witness, quorum), from_, Reach(token_file, insecure_http)
        )
    except Unusable as error:
        raise Invalid("nothing_verified", str(error)) from None
    _tell(report, json=json)


def verify_export(
    file: Annotated[Path, Parameter(help="A ZIP of evidence, as `export person` makes it.")],
    /,
    *,
    key: Keys = (),
    keys: KeyLists = (),
    jwks: Jwks = None,
    witness: Witnesses = (),
    quorum: Quorum = None,
    json: Json = False,
) -> None:
    """Check evidence about a person: who had it in hands, that nothing was changed, and what its receipts prove.

    Exit code 0: it holds; 1: it does not; 2: nothing can be said.
    """
    try:
        report = command.verify_person(file, Believed(key, keys, witness, quorum), jwks)
    except Unusable as error:
        raise Invalid("nothing_verified", str(error)) from None
    _tell(report, json=json)


def _tell(report: Report, *, json: bool) -> None:
    print_text(command.shown(report, json=json))
    if report.findings:
        raise HubError("not_verified", f"not verified: {report.findings[0].text}")
