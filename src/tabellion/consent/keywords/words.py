"""The words by language, as people write them. Counsel and each workspace add to them; nothing takes one away.

Sources, read 2026-11-28
* English: what US rules name as reasonable means of revocation, 47 CFR 64.1200(a)(10), read as law firms quote it
  (https://compliancepoint.com/marketing-compliance/fccs-consent-revocation-rule-language-analysis-and-compliance-insights;
  official at https://www.ecfr.gov): stop, quit, end, revoke, opt out, cancel, unsubscribe. With
  the words that vendors act on anyhow (https://help.twilio.com/articles/223134027,
  https://docs.aws.amazon.com/sms-voice/latest/userguide/keywords-required.html): stopall, remove, optout.
* French: ARRET, AIDE and INFO must work in Canada beside the English words
  (https://docs.aws.amazon.com/end-user-messaging/latest/userguide/nx-rcs-launch-ca-french.md, and the list above).
* All others: no law names words. They are what the language says for these English ones, in the forms that a phone's
  keyboard offers; STOP itself is understood in every one of them.
"""

from collections.abc import Mapping
from typing import Final

ENGLISH: Final = "en"
"""The language of a word that several have, and of a word whose language nobody knows."""

STOP: Final[Mapping[str, tuple[str, ...]]] = {
    "en": (
        "stop", "stop all", "stopall", "quit", "end", "revoke", "opt out", "optout", "cancel", "unsubscribe", "remove",
        "opt me out", "unsubscribe me", "remove me", "stop it", "stop now",
    ),
    "de": ("stopp", "stopp alle", "stop alle", "abmelden", "abbestellen", "austragen", "kündigen", "widerruf"),
    "fr": ("arrêt", "arrêter", "arrêtez", "désabonner", "désinscrire", "désinscription", "résilier"),
    "es": ("baja", "darme de baja", "parar", "alto", "cancelar", "detener"),
    "pt": ("sair", "parar", "pare", "cancelar", "descadastrar"),
    "it": ("basta", "ferma", "annulla", "cancellami", "disiscrivi", "disiscrivimi"),
    "nl": ("afmelden", "uitschrijven", "stoppen", "opzeggen"),
    "pl": ("koniec", "wypisz", "rezygnuję", "anuluj"),
    "sv": ("stopp", "avsluta", "avregistrera"),
    "da": ("afmeld", "frameld"),
    "nb": ("stopp", "avslutt", "meld av"),
    "fi": ("lopeta", "peruuta"),
    "cs": ("odhlásit", "konec", "zrušit"),
    "tr": ("dur", "iptal", "ret"),
    "ru": ("стоп", "отписаться", "отмена"),
    "uk": ("стоп", "відписатися"),
    "el": ("διακοπή", "στοπ"),
    "ja": ("停止", "配信停止", "ストップ"),
    "zh": ("停止", "退订", "退訂", "取消"),
    "ko": ("중지", "수신거부", "그만"),
    "ar": ("توقف", "إيقاف", "الغاء"),
    "he": ("הסר", "עצור"),
}  # fmt: skip

START: Final[Mapping[str, tuple[str, ...]]] = {
    "en": ("start", "unstop", "resume", "subscribe", "opt in", "optin"),
    "de": ("anmelden", "starten"),
    "fr": ("commencer", "reprendre", "abonner"),
    "es": ("alta", "comenzar", "iniciar"),
    "pt": ("iniciar", "começar", "voltar"),
    "it": ("inizia", "iscrivi"),
    "nl": ("aanmelden", "starten"),
    "pl": ("zapisz",),
    "sv": ("starta",),
    "da": ("tilmeld",),
    "nb": ("start",),
    "fi": ("aloita",),
    "cs": ("začít",),
    "tr": ("başla",),
    "ru": ("старт",),
    "uk": ("старт",),
    "el": ("έναρξη",),
    "ja": ("開始", "再開"),
    "zh": ("开始", "訂閱", "订阅"),
    "ko": ("시작",),
    "ar": ("ابدأ",),
    "he": ("התחל",),
}

HELP: Final[Mapping[str, tuple[str, ...]]] = {
    "en": ("help", "info"),
    "de": ("hilfe",),
    "fr": ("aide",),
    "es": ("ayuda",),
    "pt": ("ajuda",),
    "it": ("aiuto",),
    "nl": ("hulp",),
    "pl": ("pomoc",),
    "sv": ("hjälp",),
    "da": ("hjælp",),
    "nb": ("hjelp",),
    "fi": ("apua", "ohje"),
    "cs": ("pomoc",),
    "tr": ("yardım",),
    "ru": ("помощь",),
    "uk": ("допомога",),
    "el": ("βοήθεια",),
    "ja": ("ヘルプ",),
    "zh": ("帮助", "幫助"),
    "ko": ("도움말",),
    "ar": ("مساعدة",),
    "he": ("עזרה",),
}

AROUND: Final = (
    "please", "pls", "plz", "now", "thanks", "thank you", "thx", "ok", "okay", "hi", "hello", "sms", "text", "texts",
    "messages", "bitte", "danke", "merci", "svp", "stp", "s'il vous plaît", "s'il te plaît", "por favor", "gracias",
    "obrigado", "obrigada", "per favore", "grazie", "alsjeblieft", "alstublieft", "aub", "graag", "proszę", "tack",
    "tak", "takk", "kiitos", "prosím", "lütfen", "пожалуйста", "будь ласка", "παρακαλώ", "ください",
)  # fmt: skip
"""What people put before or behind such a word, and what changes nothing about it."""

_THINGS: Final = r"(texts?|txts?|messages?|sms|msgs?|spam|ads?|promos?|promotions?|offers?|marketing|stuff|crap|shit)"
_CONTACT: Final = r"(text|txt|contact|message|msg|sms|e ?mail|bother|spam|harass|write|send)"
_CONTACTING: Final = r"(texting|contacting|messaging|emailing|bothering|spamming|harassing|sending|writing|calling)"

REFUSES: Final = (
    # A word for it, and more than that.
    r"(unsubscribe|unsubscribed|opt me out|opt out|optout|stopall|opted out)\b.*",
    r"(abmelden|abbestellen|austragen|désabonner|désinscrire|descadastrar|disiscrivermi|afmelden|uitschrijven)\b.*",
    r"(darme|dame|denme) de baja\b.*",
    r"(отписаться|отпишите|отписка|відписатися|配信停止|退订|退訂|수신거부)",
    r"^stop \w+$",
    r"^(yes|no|yeah|hey|just|omg|wtf|i said|fuck(ing)?) (stop|cancel|quit|end)( it| this)?$",
    # English
    r"(leave|let) (me|us) (alone|be)",
    rf"(do not|dont|never|no longer) (ever )?{_CONTACT} (me|us|my \w+|this (number|phone)|here|again|any ?more)\b.*",
    r"(do not|dont|never) call (me |us )?(again|any ?more|ever)",
    rf"(stop|quit|cease) {_CONTACTING}\b.*",
    r"stop (this|that|these)$",
    rf"stop (this|these|that|the|those|your|all|with)( \w+)* {_THINGS}",
    rf"(no|not) (more|any ?more|another)( \w+)? ({_THINGS}|of (this|these))",
    rf"(do not|dont|no longer) (want|wish|need)( to (get|receive|have|see))?( \w+){{0,4}} {_THINGS}",
    r"(take|get) (me|us|my (number|phone)) off( (of )?(your|this|that|the|all|any) \w+)?$",
    r"(remove|delete|unsubscribe) (me|us|my (number|phone|contact))\b.*",
    r"(want|wish|like|need) (out|to be (removed|taken off|left alone))\b.*",
    r"(lose|forget) (my|this) (number|contact)",
    r"(wrong|not my) (number|person)",
    r"how (do|can) i (stop|end|cancel) (this|these|it|getting|receiving)\b.*",
    # German
    r"(keine|nie) (weiteren |weitere |mehr )?(sms|nachrichten|werbung|werbenachrichten)( mehr)?",
    r"(lasst|lass|lassen sie) (mich|uns) (bitte )?(endlich )?in ruhe?",
    r"(hört|hör|hören sie) (bitte )?(endlich |sofort )?(auf$|auf damit|damit auf|auf mir|auf uns|auf zu)\b.*",
    r"(bitte|mich|uns|mir) (nicht|nie) (mehr|wieder) (schreiben|kontaktieren|anschreiben|senden|schicken|anrufen)",
    r"(schreib|schreibt|schreiben sie|schick|schickt|schicken sie) (mir|uns) (nicht|keine|nie) (mehr|wieder)\b.*",
    r"(möchte|will) (keine|nicht mehr|nichts mehr)( \w+)* (sms|nachrichten|werbung|angeschrieben|kontaktiert|hören)",
    r"(falsche|verkehrte) (nummer|person)",
    # French
    r"(laissez|laisse|fichez|foutez) moi (tranquille|en paix|la paix)",
    r"ne (me |m|nous )(contactez|écrivez|envoyez|contacte|écris|envoie)\b.*",
    r"n ?(envoyez|écrivez|envoie|écris) (plus|pas)\b.*",
    r"(plus|pas) de (sms|messages|textos|pub|publicité)",
    r"arrêtez? (de|d\w+|ça|cela|vos|ces)\b.*",
    r"mauvais numéro",
    # Spanish, Portuguese, Italian
    r"(déjenme|déjame|déjenos) en paz",
    r"no (me )?(escriban|envíen|manden|contacten|escribas|envíes|mandes|molesten|molestes)\b.*",
    r"no (quiero|deseo) (más|recibir)\b.*",
    r"no más (mensajes|sms|publicidad)",
    r"número equivocado",
    r"me deixe?m? em paz",
    r"não (me )?(mande|mandem|envie|enviem|escreva|escrevam) mais\b.*",
    r"não quero (mais|receber)\b.*",
    r"(lasciatemi|lasciami) (stare|in pace)",
    r"non (mi )?(scrivete|mandate|inviate|contattate|scrivetemi|mandatemi|contattatemi)( più)?\b.*",
    r"non voglio (più|ricevere)\b.*",
    r"numero sbagliato",
    # Dutch, Polish, Swedish, Danish, Norwegian
    r"laat (me|mij|ons) met rust",
    r"geen (sms|smsjes|berichten|reclame)( meer)?",
    r"(stuur|sms|bericht|app) (me|mij) (niets|niet) meer\b.*",
    r"(nie|przestań|przestańcie) (pisz|piszcie|wysyłaj|wysyłajcie|pisać|wysyłać|dzwonić)\b.*",
    r"(dajcie|daj) mi spokój",
    r"sluta (skicka|skriva|kontakta|smsa)\b.*",
    r"(stop|hold op) med at (sende|skrive|kontakte)\b.*",
    r"(slutt|stopp) (å|med å) (sende|skrive|kontakte)\b.*",
    # Russian
    r"(больше )?не (пишите|пиши|присылайте|беспокойте|звоните)\b.*",
    r"(отстаньте|отстань|оставьте меня в покое)",
)
"""How a reply refuses without saying just the word: patterns that are looked for in it as it is normalised."""
