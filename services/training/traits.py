"""What is true of a clip as a whole, and where the audio tower writes it: into the first embeddings of the clip.

Alignment gives every embedding the word heard at that moment, which says nothing about who speaks, in which language,
or what goes on behind the voice. The tower attends over the whole clip, so its first embeddings can carry such facts:
each slot has its own place and is aligned to the word of the fact, as every other embedding is to the word heard. The
language model then reads facts as it reads words. Clips mostly begin with as much silence; where they do not, their
first 0.2 s are given up.
"""

from collections.abc import Mapping

# Per slot the tasks whose answers it holds (never two of them in one clip), and its embeddings of 40 ms.
SLOTS: tuple[tuple[tuple[str, ...], int], ...] = (
    (("sound", "instrument"), 2),
    (("gender", "mode"), 1),
    (("speakers", "tempo"), 1),
    (("language",), 1),
)
TRAIT_EMBEDDINGS = sum(embeddings for _, embeddings in SLOTS)
NOTHING = ""  # the clip has none of it, which is learned as silence; an absent trait is unknown, and not learned
NO_VOICE = {"gender": NOTHING, "speakers": NOTHING, "language": NOTHING}


def trait_words(traits: Mapping[str, str]) -> list[tuple[str | None, int]]:
    """Per slot its word (``NOTHING`` for silence, None where it is not known) and its number of embeddings."""
    slots = []
    for tasks, embeddings in SLOTS:
        known = [traits[task] for task in tasks if task in traits]
        slots.append((known[0] if known else None, embeddings))
    return slots
