"""Legal schemes of consent, as data: what each asks somebody to be able to show. Pure.

This is no legal advice, and counsel may want more. Each row names the official text, and what of it was read for this
data. **None was read at its official address**; what rests on general knowledge is said to. Read 2026-11-28:

* GDPR (Regulation (EU) 2016/679) art. 4(11), 7, recitals 32 and 42; official at
  https://eur-lex.europa.eu/eli/reg/2016/679/oj. Art. 7 and recital 32 were read in a copy
  (https://gdprhub.eu/index.php?title=Article_7_GDPR); art. 4(11) and recital 42 rest on general knowledge.
  Who relies on consent must be able to demonstrate it. The notice shows what the person was told, the evidence of the
  method how they said so; the regulation names nothing further that would be kept with each consent.
* PECR (SI 2003/2426) reg. 22(3); official at https://www.legislation.gov.uk/uksi/2003/2426/regulation/22. Read in a
  copy; of the official site a version of 2018 was to be had, and of that only the beginning. The directive's art. 13(2)
  rests on general knowledge. Three conditions at once: the details came from a sale or its negotiation, the
  marketing is of similar products of the same sender, and a simple means of refusing was given when they were collected
  (and is given with each message).
* CASL (S.C. 2010, c. 23) s. 6, 10 and SOR/2012-36 s. 4; official at https://laws-lois.justice.gc.ca/eng/acts/E-1.6/ and
  https://laws-lois.justice.gc.ca/eng/regulations/SOR-2012-36/. Not read: pages of law firms about them were
  (http://www.mondaq.com/canada/x/289966/, https://pushormitchell.com/?p=3561). A request for express consent states the
  purposes (the notice), who asks, how they are reached, and that consent can be withdrawn. Implied consent (s. 10(9) to
  (14)) rests on a relationship, and for two years or six months on when that last was.
* TCPA, 47 CFR 64.1200(f)(9); official at https://www.ecfr.gov/current/title-47/part-64/section-64.1200. Read as a law
  firm quotes the rule of 2013 (http://www.copilevitz-canter.com/commentary/, on disclosures for express consent); what
  changed since was not looked for. A written agreement with a signature (E-SIGN counts) that authorises a named seller
  for the number, with the disclosure that it does and that nothing is bought on condition of it. Prior express consent,
  64.1200(a)(1), rests on general knowledge: the number was given by who is called.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from tabellion.consent.types import ANY, Basis, Method, NewDecision, Scheme

VERSION: Final = "2026-11-28"
"""Of this data. What changes here changes which decisions are complete, from then on."""

METHOD_EVIDENCE: Final[Mapping[Method, str]] = {
    Method.FORM: "url",
    Method.VERBAL: "recording_ref",
    Method.PAPER: "document_ref",
}
"""What proves a decision of this method. Other methods are never complete."""
_SOFT_OPT_IN: Final = {
    "sale_or_negotiation": "the sale, or its negotiation, that the address came from",
    "similar_products": "true: the marketing is of the sender's own similar products and services",
    "opt_out_offered_at_collection": "true: a simple means of refusing was given when the address was collected",
}
BASIS_EVIDENCE: Final[Mapping[Basis, Mapping[str, str]]] = {
    Basis.LEGITIMATE_INTEREST: {"lia_ref": "where the assessment of the legitimate interest is kept"},
    Basis.SOFT_OPT_IN: _SOFT_OPT_IN,
}
"""Bases that can only be asserted, and what they must show."""
_EUROPE: Final = frozenset(
    {
        *("AT", "BE", "BG", "HR", "CY", "CZ", "DK", "EE", "FI", "FR", "DE", "GR", "HU", "IE", "IT", "LV", "LT", "LU"),
        *("MT", "NL", "PL", "PT", "RO", "SK", "SI", "ES", "SE", "IS", "LI", "NO", "GB"),
    }
)
"""The European Economic Area, and the United Kingdom, whose law says the same of this."""
_MAIL: Final = frozenset({"email", "sms", "mms", "rcs", "whatsapp"})
_PHONE: Final = frozenset({"sms", "mms", "rcs", "voice"})


@dataclass(frozen=True, slots=True)
class Rule:
    """One scheme."""

    title: str
    law: str
    source: str
    evidence: Mapping[str, str] = field(default_factory=dict)
    """The keys that must be there beyond those of the method, and what each says."""
    countries: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()
    """Empty: all."""
    bases: frozenset[Basis] = frozenset({Basis.CONSENT})


SCHEMES: Final[Mapping[Scheme, Rule]] = {
    Scheme.GDPR: Rule(
        "Consent that can be demonstrated",
        "Regulation (EU) 2016/679 art. 4(11), 7; in the UK the UK GDPR",
        "https://eur-lex.europa.eu/eli/reg/2016/679/oj",
        countries=_EUROPE,
        bases=frozenset(Basis) - {Basis.SOFT_OPT_IN},
    ),
    Scheme.PECR_SOFT: Rule(
        "Soft opt-in of existing customers",
        "SI 2003/2426 reg. 22(3); in the EU Directive 2002/58/EC art. 13(2)",
        "https://www.legislation.gov.uk/uksi/2003/2426/regulation/22",
        _SOFT_OPT_IN,
        _EUROPE,
        _MAIL,
        frozenset({Basis.SOFT_OPT_IN}),
    ),
    Scheme.CASL_EXPRESS: Rule(
        "Express consent",
        "S.C. 2010, c. 23 s. 6, 10(1); SOR/2012-36 s. 4",
        "https://laws-lois.justice.gc.ca/eng/acts/E-1.6/",
        {
            "requester": "who asked for consent, and on whose behalf",
            "requester_contact": "their mailing address, and a phone number, an e-mail or a web address",
            "withdrawal_stated": "true: the request said that consent can be withdrawn",
        },
        frozenset({"CA"}),
        _MAIL | {"push", "webpush"},
    ),
    Scheme.CASL_IMPLIED: Rule(
        "Consent implied by a relationship",
        "S.C. 2010, c. 23 s. 10(9) to (14)",
        "https://laws-lois.justice.gc.ca/eng/acts/E-1.6/",
        {
            "relationship": "which: purchase, contract, inquiry, membership, donation, publication, disclosure",
            "relationship_at": "when it last was; a purchase carries two years, an inquiry six months",
        },
        frozenset({"CA"}),
        _MAIL | {"push", "webpush"},
        frozenset({Basis.CONSENT, Basis.LEGITIMATE_INTEREST}),
    ),
    Scheme.TCPA_PEWC: Rule(
        "Prior express written consent",
        "47 CFR 64.1200(a)(2), (f)(9)",
        "https://www.ecfr.gov/current/title-47/part-64/section-64.1200",
        {
            "seller": "who may call or text, as the agreement names them",
            "disclosure": "the disclosure, or where it is kept: what is authorised, and that no purchase depends on it",
            "signature": "the signature, or what stands for it under E-SIGN",
        },
        frozenset({"US"}),
        _PHONE,
    ),
    Scheme.TCPA_PEC: Rule(
        "Prior express consent",
        "47 CFR 64.1200(a)(1)",
        "https://www.ecfr.gov/current/title-47/part-64/section-64.1200",
        {"provided_by": "how the person called gave the number"},
        frozenset({"US"}),
        _PHONE,
    ),
}


def missing(new: NewDecision) -> list[str]:
    """The evidence that the decision's method and scheme ask for and that is not there; empty, false and 0 is none."""
    needed = {*((METHOD_EVIDENCE[new.method],) if new.method in METHOD_EVIDENCE else ())}
    needed |= SCHEMES[new.scheme].evidence.keys() if new.scheme else set()
    return sorted(key for key in needed if not (new.evidence or {}).get(key))


def complete(new: NewDecision) -> bool:
    """Whether the evidence suffices for a secret key's grant to lift a restriction; the notice must be known, too."""
    return new.method in METHOD_EVIDENCE and not missing(new)


def warnings(new: NewDecision) -> Iterator[str]:
    """What does not fit about the scheme a decision names, or is missing for it."""
    if new.scheme is None:
        return
    rule = SCHEMES[new.scheme]
    if missing(new):
        yield "evidence_missing"
    if new.jurisdiction is not None and new.jurisdiction[:2] not in rule.countries:
        yield "scheme_of_other_jurisdiction"
    if new.channel != ANY and rule.channels and new.channel not in rule.channels:
        yield "scheme_of_other_channel"
    if new.basis is not None and new.basis not in rule.bases:
        yield "scheme_of_other_basis"
