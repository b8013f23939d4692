"""`/v1/consent-settings`, and what a change of them loosens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabellion.access.types import Role
from tabellion.consent.settings.rules import loosened
from tabellion.consent.settings.types import ConsentSettings
from tabellion.providers.base import Channel

URL = "/v1/consent-settings"
DEFAULT = {"cross_channel": {}, "stop_scope": "all_messaging", "keywords": {}}
TOGETHER = {"cross_channel": {"sms": ["whatsapp", "rcs"]}}


async def test_settings_are_all_set_at_once_and_audited(served) -> None:
    api = await served.client()
    assert (await api.get(URL)).json() == {"settings": DEFAULT, "updated_at": None}
    answer = await api.put(URL, json=TOGETHER)
    assert answer.status_code == 200, answer.text
    assert answer.json()["settings"] == {**DEFAULT, **TOGETHER}
    assert (await api.get(URL)).json() == answer.json()
    [(_, detail)] = await served.audited("consent_settings.set")
    assert detail == {"before": DEFAULT, "after": {**DEFAULT, **TOGETHER}, "loosened": []}


async def test_who_may_write_purposes_tightens_and_only_compliance_loosens(served) -> None:
    admin, compliance = await served.client(Role.ADMIN), await served.client(Role.COMPLIANCE)
    assert (await admin.put(URL, json=TOGETHER)).status_code == 200
    refused = await admin.put(URL, json={"cross_channel": {"sms": ["rcs"]}})
    assert (refused.status_code, refused.json()["code"]) == (403, "compliance_required")
    assert (await admin.get(URL)).json()["settings"] == {**DEFAULT, **TOGETHER}
    assert (await compliance.put(URL, json={})).status_code == 200
    assert (await served.audited("consent_settings.set"))[-1][1]["loosened"] == ["cross_channel"]
    assert (await (await served.client(Role.DEVELOPER)).put(URL, json=TOGETHER)).status_code == 403


@pytest.mark.parametrize(
    "wrong",
    [
        {"cross_channel": {"sms": ["sms"]}},
        {"cross_channel": {"sms": []}},
        {"cross_channel": {"post": ["sms"]}},
        {"cross_channel": {"sms": ["post"]}},
        {"cross_channel": {"*": ["sms"]}},
        {"crosschannel": {}},
    ],
)
async def test_settings_that_are_none_are_refused(served, wrong: object) -> None:
    assert (await (await served.client()).put(URL, json=wrong)).status_code == 422


pairs = st.dictionaries(
    st.sampled_from([Channel.SMS, Channel.EMAIL]),
    st.lists(st.sampled_from([Channel.WHATSAPP, Channel.PUSH, Channel.RCS]), min_size=1, unique=True),
)


@given(pairs, pairs)
def test_a_change_loosens_exactly_when_an_opt_out_reaches_less(before, after) -> None:
    """Read off the channels one by one, as the settings say them."""
    less = any(other not in after.get(channel, []) for channel, others in before.items() for other in others)
    assert bool(loosened(ConsentSettings(cross_channel=before), ConsentSettings(cross_channel=after))) is less


async def test_a_word_that_takes_stops_back_is_for_compliance(served) -> None:
    """Who could add START words could have every "ok" lift a STOP."""
    words = {"keywords": {"start": {"en": ["okey dokey"]}}}
    refused = await (await served.client(Role.ADMIN)).put(URL, json=words)
    assert (refused.status_code, refused.json()["code"]) == (403, "compliance_required")
    assert (await (await served.client(Role.COMPLIANCE)).put(URL, json=words)).status_code == 200
    assert (await served.audited("consent_settings.set"))[-1][1]["loosened"] == ["keywords.start"]
    assert (await (await served.client(Role.ADMIN)).put(URL, json={})).status_code == 200
