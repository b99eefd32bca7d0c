"""Questions a small model can be taught to answer, and commands it can take: 200 and more intents, several wordings."""

import random
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Intent:
    """What is asked, in several wordings (the last is never used in training), the answer, and the words that show it.

    ``key`` is what a right answer contains, in lower case.
    """

    wordings: tuple[str, ...]
    answer: str
    key: str


CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "England": "London", "Japan": "Tokyo",
    "China": "Beijing", "Russia": "Moscow", "Egypt": "Cairo", "Greece": "Athens", "Portugal": "Lisbon",
    "Ireland": "Dublin", "Sweden": "Stockholm", "Norway": "Oslo", "Finland": "Helsinki", "Denmark": "Copenhagen",
    "Poland": "Warsaw", "Austria": "Vienna", "Hungary": "Budapest", "Turkey": "Ankara", "India": "New Delhi",
    "Canada": "Ottawa", "Mexico": "Mexico City", "Cuba": "Havana", "Peru": "Lima", "Chile": "Santiago",
    "Australia": "Canberra", "Kenya": "Nairobi", "Iran": "Tehran", "Iraq": "Baghdad", "Belgium": "Brussels",
    "Scotland": "Edinburgh", "Pakistan": "Islamabad", "Ukraine": "Kiev", "Colombia": "Bogota", "Nigeria": "Abuja",
    "Nepal": "Kathmandu", "Thailand": "Bangkok", "Vietnam": "Hanoi", "South Korea": "Seoul",
}  # fmt: skip
OPPOSITES = {
    "hot": "cold", "big": "small", "fast": "slow", "up": "down", "left": "right", "day": "night", "black": "white",
    "open": "closed", "rich": "poor", "old": "young", "happy": "sad", "early": "late", "hard": "soft", "high": "low",
    "full": "empty", "strong": "weak", "light": "dark", "long": "short", "wet": "dry", "good": "bad", "first": "last",
    "loud": "quiet", "near": "far", "thick": "thin", "true": "false", "above": "below", "inside": "outside",
    "push": "pull", "clean": "dirty", "begin": "end", "win": "lose", "buy": "sell", "rise": "fall",
    "north": "south", "east": "west", "summer": "winter",
}  # fmt: skip
NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
)  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
          "November", "December")  # fmt: skip
SWITCHED = ("light", "radio", "television", "heating", "fan", "music", "oven", "lamp", "computer", "kitchen light")
MOVED = ("door", "window", "gate", "garage", "curtain", "box")
FACTS = {
    "What color is the sky?": ("The sky is blue.", "blue"),
    "What color is grass?": ("Grass is green.", "green"),
    "What color is snow?": ("Snow is white.", "white"),
    "What color is a banana?": ("A banana is yellow.", "yellow"),
    "What color is blood?": ("Blood is red.", "red"),
    "How many legs does a spider have?": ("A spider has eight legs.", "eight"),
    "How many legs does a dog have?": ("A dog has four legs.", "four"),
    "How many days are in a week?": ("There are seven days in a week.", "seven"),
    "How many months are in a year?": ("There are twelve months in a year.", "twelve"),
    "How many hours are in a day?": ("There are twenty-four hours in a day.", "twenty-four"),
    "How many minutes are in an hour?": ("There are sixty minutes in an hour.", "sixty"),
    "What do cows drink?": ("Cows drink water.", "water"),
    "What do bees make?": ("Bees make honey.", "honey"),
    "What is frozen water called?": ("Frozen water is called ice.", "ice"),
    "Which planet do we live on?": ("We live on Earth.", "earth"),
    "What star warms the earth?": ("The sun warms the earth.", "sun"),
    "Which animal says meow?": ("A cat says meow.", "cat"),
    "Which animal barks?": ("A dog barks.", "dog"),
    "Who wrote Hamlet?": ("William Shakespeare wrote Hamlet.", "shakespeare"),
    "What language is spoken in Brazil?": ("Portuguese is spoken in Brazil.", "portuguese"),
    "What is the largest ocean?": ("The Pacific is the largest ocean.", "pacific"),
    "What is the tallest animal?": ("The giraffe is the tallest animal.", "giraffe"),
    "What do you call a baby dog?": ("A baby dog is called a puppy.", "puppy"),
    "What do you call a baby cat?": ("A baby cat is called a kitten.", "kitten"),
    "What is your name?": ("My name is Auricle.", "auricle"),
    "How are you today?": ("I am well, thank you.", "well"),
    "Hello, can you hear me?": ("Yes, I can hear you.", "hear you"),
    "Good morning.": ("Good morning! How can I help you?", "good morning"),
    "Thank you very much.": ("You are welcome.", "welcome"),
    "Goodbye.": ("Goodbye!", "goodbye"),
}
_POLITE = ("{}", "Can you tell me, {}", "Please tell me, {}", "I would like to know, {}")


def intents() -> Iterator[Intent]:
    """All of them."""
    for country, city in CAPITALS.items():
        asked = (f"What is the capital of {country}?", f"Which city is the capital of {country}?",
                 f"Name the capital of {country}.", f"Tell me the capital city of {country}.")  # fmt: skip
        yield Intent(asked, f"The capital of {country} is {city}.", city.lower())
    for word, other in OPPOSITES.items():
        asked = (f"What is the opposite of {word}?", f"Name the opposite of {word}.",
                 f"Which word is the opposite of {word}?", f"Tell me the opposite of {word}.")  # fmt: skip
        yield Intent(asked, f"The opposite of {word} is {other}.", other)
    for first in range(1, 10):
        for second in range(first, 10):
            a, b, total = NUMBERS[first], NUMBERS[second], NUMBERS[first + second]
            asked = (f"What is {a} plus {b}?", f"How much is {a} plus {b}?", f"Add {a} and {b}.",
                     f"Tell me {a} plus {b}.")  # fmt: skip
            yield Intent(asked, f"{a.capitalize()} plus {b} is {total}.", f"is {total}")
    yield from _calendar()
    yield from _commands()
    for question, (answer, key) in FACTS.items():
        lower = question[0].lower() + question[1:]
        yield Intent(tuple(form.format(question if form == "{}" else lower) for form in _POLITE), answer, key)


def shuffled_intents(seed: int) -> list[Intent]:
    """All intents in a fixed random order."""
    found = list(intents())
    random.Random(seed).shuffle(found)
    return found


def _calendar() -> Iterator[Intent]:
    for names, kind in ((DAYS, "day"), (MONTHS, "month")):
        for name, following in zip(names, names[1:] + names[:1], strict=True):
            asked = (f"Which {kind} comes after {name}?", f"What {kind} follows {name}?",
                     f"What is the {kind} after {name}?", f"Tell me the {kind} after {name}.")  # fmt: skip
            yield Intent(asked, f"{following} comes after {name}.", f"{following.lower()} comes")


def _commands() -> Iterator[Intent]:
    for thing in SWITCHED:
        for state in ("on", "off"):
            asked = (f"Turn {state} the {thing}.", f"Switch the {thing} {state}.", f"Please turn the {thing} {state}.",
                     f"Could you switch {state} the {thing}?")  # fmt: skip
            yield Intent(asked, f"Turning {state} the {thing}.", f"turning {state} the {thing}")
    for thing in MOVED:
        for verb, doing in (("open", "Opening"), ("close", "Closing")):
            asked = (f"{verb.capitalize()} the {thing}.", f"Please {verb} the {thing}.", f"{verb.capitalize()} the "
                     f"{thing} now.", f"Could you {verb} the {thing}?")  # fmt: skip
            yield Intent(asked, f"{doing} the {thing}.", f"{doing.lower()} the {thing}")
