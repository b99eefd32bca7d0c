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


def wording(choices: tuple[str, ...], chance: random.Random) -> str:
    """One of the wordings; the first, which is the plainest, half of the time."""
    return choices[0] if chance.random() < 0.5 else chance.choice(choices)
