"""What the hub answers to STOP, START and HELP, in the language of the word. Pure.

Each is one text of at most two SMS, names the brand, and says nothing that it need not: no marketing. In a language
that is not here the answer is English. The words STOP and START work in every language.
"""

from collections.abc import Mapping
from typing import Final

from tabellion.consent.brands.types import Brand
from tabellion.consent.keywords.types import Keyword

_LONGEST_NAME: Final = 60

TEXTS: Final[Mapping[str, Mapping[Keyword, str]]] = {
    "en": {
        Keyword.STOP: "{name}: You are unsubscribed and get no more messages from us. Reply START to take that back.",
        Keyword.START: "{name}: Your STOP is taken back. Reply HELP for help, STOP to end messages.",
        Keyword.HELP: "{name}: {contact}Reply STOP to end messages.",
    },
    "de": {
        Keyword.STOP: "{name}: Sie sind abgemeldet und erhalten keine Nachrichten mehr. START macht das rückgängig.",
        Keyword.START: "{name}: Ihr STOP ist zurückgenommen. HILFE für Hilfe, STOP beendet die Nachrichten.",
        Keyword.HELP: "{name}: {contact}STOP beendet die Nachrichten.",
    },
    "fr": {
        Keyword.STOP: "{name} : vous êtes désinscrit et ne recevrez plus de messages. START pour annuler.",
        Keyword.START: "{name} : votre STOP est annulé. AIDE pour de l'aide, STOP pour ne plus rien recevoir.",
        Keyword.HELP: "{name} : {contact}STOP pour ne plus rien recevoir.",
    },
    "es": {
        Keyword.STOP: "{name}: Se ha dado de baja y no recibirá más mensajes. Responda START para anularlo.",
        Keyword.START: "{name}: Su baja queda anulada. AYUDA para ayuda, STOP para no recibir más.",
        Keyword.HELP: "{name}: {contact}Responda STOP para no recibir más mensajes.",
    },
    "pt": {
        Keyword.STOP: "{name}: Cancelámos a inscrição; não receberá mais mensagens. Responda START para anular.",
        Keyword.START: "{name}: O seu STOP foi anulado. AJUDA para ajuda, STOP para não receber mais.",
        Keyword.HELP: "{name}: {contact}Responda STOP para não receber mais mensagens.",
    },
    "it": {
        Keyword.STOP: "{name}: La sua iscrizione è annullata, non riceverà altri messaggi. START per tornare indietro.",
        Keyword.START: "{name}: Il suo STOP è annullato. AIUTO per aiuto, STOP per non ricevere altro.",
        Keyword.HELP: "{name}: {contact}Risponda STOP per non ricevere altri messaggi.",
    },
    "nl": {
        Keyword.STOP: "{name}: U bent afgemeld en krijgt geen berichten meer. Antwoord START om dat terug te nemen.",
        Keyword.START: "{name}: Uw STOP is teruggenomen. HULP voor hulp, STOP beëindigt de berichten.",
        Keyword.HELP: "{name}: {contact}Antwoord STOP om geen berichten meer te krijgen.",
    },
}


def text(keyword: Keyword, language: str, brand: Brand) -> str:
    """The answer to a keyword in a language, in the name of a brand."""
    texts = TEXTS.get(language) or TEXTS.get(language.partition("-")[0]) or TEXTS["en"]
    contact = brand.contact or brand.url
    name = brand.name if len(brand.name) <= _LONGEST_NAME else brand.name[: _LONGEST_NAME - 1] + "…"
    said = {"{name}": name, "{contact}": f"{contact} · " if contact else ""}
    answer = texts[keyword]
    for place in ("{name}", "{contact}"):
        before, found, after = answer.partition(place)
        answer = before + said[place] + after if found else answer
    return answer
