"""Plain sentences in six languages: who, does what, when. The last two of what is done are kept for testing."""

import random

HELD_OUT_ACTIONS = 2

# Language: who, does what, when.
_PARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "English": (
        ("My brother", "The teacher", "Our neighbor", "The old man", "A friend of mine", "The young woman"),
        ("reads a book", "buys fresh bread", "works in the garden", "goes to the station", "writes a long letter",
         "is looking for the keys", "drinks a cup of tea", "waits for the bus"),
        ("every morning", "in the evening", "on Sunday", "before dinner", "when it rains"),
    ),
    "Spanish": (
        ("Mi hermano", "La profesora", "Nuestro vecino", "El viejo", "Una amiga mía", "La joven"),
        ("lee un libro", "compra pan fresco", "trabaja en el jardín", "va a la estación", "escribe una carta larga",
         "busca las llaves", "toma una taza de té", "espera el autobús"),
        ("todas las mañanas", "por la noche", "el domingo", "antes de la cena", "cuando llueve"),
    ),
    "French": (
        ("Mon frère", "La maîtresse", "Notre voisin", "Le vieil homme", "Une de mes amies", "La jeune femme"),
        ("lit un livre", "achète du pain frais", "travaille dans le jardin", "va à la gare", "écrit une longue lettre",
         "cherche les clés", "boit une tasse de thé", "attend le bus"),
        ("chaque matin", "le soir", "le dimanche", "avant le dîner", "quand il pleut"),
    ),
    "Italian": (
        ("Mio fratello", "La maestra", "Il nostro vicino", "Il vecchio", "Una mia amica", "La giovane donna"),
        ("legge un libro", "compra il pane fresco", "lavora in giardino", "va alla stazione",
         "scrive una lunga lettera", "cerca le chiavi", "beve una tazza di tè", "aspetta l'autobus"),
        ("ogni mattina", "la sera", "la domenica", "prima di cena", "quando piove"),
    ),
    "Russian": (
        ("Мой брат", "Учительница", "Наш сосед", "Старик", "Моя подруга", "Молодая женщина"),
        ("читает книгу", "покупает свежий хлеб", "работает в саду", "идёт на вокзал", "пишет длинное письмо",
         "ищет ключи", "пьёт чашку чая", "ждёт автобус"),
        ("каждое утро", "вечером", "в воскресенье", "перед ужином", "когда идёт дождь"),
    ),
    "German": (
        ("Mein Bruder", "Die Lehrerin", "Unser Nachbar", "Der alte Mann", "Eine Freundin von mir", "Die junge Frau"),
        ("liest ein Buch", "kauft frisches Brot", "arbeitet im Garten", "geht zum Bahnhof",
         "schreibt einen langen Brief", "sucht die Schlüssel", "trinkt eine Tasse Tee", "wartet auf den Bus"),
        ("jeden Morgen", "am Abend", "am Sonntag", "vor dem Essen", "wenn es regnet"),
    ),
}  # fmt: skip
LANGUAGES = tuple(_PARTS)


def phrase(language: str, training: bool, chance: random.Random) -> str:
    """One of 180 sentences to train on, or of 60 to test with."""
    who, does, when = _PARTS[language]
    action = chance.choice(does[:-HELD_OUT_ACTIONS] if training else does[-HELD_OUT_ACTIONS:])
    words = [chance.choice(who), action, chance.choice(when)]
    return " ".join(words) + "."
