"""Several wordings of every instruction: tasks are asked for in natural language, as the paper's pretraining does."""

import random

TRANSCRIBE = (
    "Transcribe the speech.",
    "What does the speaker say?",
    "Write down every word that you hear.",
    "Give the transcript of this recording.",
    "Please write out what is said.",
)
SOUND = ("What sound is this?", "Which sound do you hear?", "Name the sound.", "What can be heard in the recording?")
INSTRUMENT = ("Which instrument is playing?", "What instrument do you hear?", "Name the instrument.")
MODE = ("Is the chord major or minor?", "Major or minor?", "Is this music in major or in minor?")
TEMPO = ("Is the music fast or slow?", "Fast or slow?", "What is the tempo, fast or slow?")
LANGUAGE = (
    "Which language is spoken?",
    "What language is the speaker using?",
    "Name the language of this recording.",
)
GENDER = ("Is the speaker a man or a woman?", "Man or woman?", "Who is speaking, a man or a woman?")
SPEAKERS = ("How many people are speaking, one or two?", "One speaker or two?", "How many speakers do you hear?")
ABSENT = ("Do you hear a {}?", "Is there a {} in the recording?", "Can you hear a {}?")

# Of mixes; the last of each is never trained on.
BEHIND = (
    "What sound is behind the voice?",
    "Which sound do you hear besides the speech?",
    "Name the sound in the background.",
    "What can be heard besides the speaker?",
)
SAID = (
    "Transcribe the speech over the sound.",
    "What does the speaker say?",
    "Write down the words, not the sound.",
    "Give the words that are spoken.",
)
ABOUT = {
    "instrument": INSTRUMENT,
    "mode": MODE,
    "tempo": TEMPO,
    "language": LANGUAGE,
    "gender": GENDER,
    "speakers": SPEAKERS,
}


def presence_question(form: str, name: str) -> str:
    """One of ``ABSENT`` about a sound, with its article."""
    question = form.format(name)
    return question.replace(f" a {name}", f" an {name}") if name[0] in "aeiou" else question


def wording(choices: tuple[str, ...], chance: random.Random) -> str:
    """One of the wordings; the first, which is the plainest, half of the time."""
    return choices[0] if chance.random() < 0.5 else chance.choice(choices)
