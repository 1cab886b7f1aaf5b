"""Plain sentences for the journeys, written for them: small data sets that a small model can learn.

Every sentence is distinct: each subject of a topic meets each of its endings once.
"""

import csv
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

TOPICS = {
    "sports": (
        ("The goalkeeper", "A young striker", "Our cycling team", "The old champion", "The tennis coach"),
        (
            "won the match in the last minute",
            "lost the final on a wet field",
            "trained all winter for the cup",
            "scored twice before half time",
            "missed the start of the season",
            "set a record in the long race",
            "was cheered by the whole stadium",
            "left the club after the game",
        ),
    ),
    "cooking": (
        ("The baker", "My grandmother", "The new cook", "The chef of the inn", "A hungry student"),
        (
            "fried onions in plenty of butter",
            "put too much salt into the soup",
            "baked bread with walnuts and honey",
            "roasted the lamb with garlic",
            "stirred the sauce until it was thick",
            "cut the carrots into thin slices",
            "boiled rice with milk and sugar",
            "left the cake too long in the oven",
        ),
    ),
    "weather": (
        ("A storm", "The cold wind", "Heavy rain", "The first snow", "Thick fog"),
        (
            "came down from the hills at night",
            "covered the roads this morning",
            "is forecast for the whole weekend",
            "kept the ferries in the harbour",
            "moved slowly towards the coast",
            "lasted from dawn to dusk",
            "surprised the valley in April",
            "will be gone by tomorrow",
        ),
    ),
}
# Not among the sentences above, one of each topic in the order of TOPICS.
UNSEEN = (
    "The goalkeeper scored in the final race of the season",
    "The cook boiled carrots with garlic and butter",
    "Snow and fog are forecast for the coast tomorrow morning",
)

Row = tuple[str, ...]


def topics() -> Iterator[Row]:
    """120 rows (sentence, topic)."""
    for topic, (subjects, endings) in TOPICS.items():
        for subject, ending in product(subjects, endings):
            yield f"{subject} {ending}.", topic


def pairs() -> Iterator[Row]:
    """120 rows (sentence, sentence, whether both are of one topic)."""
    sentences = list(topics())
    for number, (first, topic) in enumerate(sentences):
        second, other = sentences[(number + (7 if number % 2 else 53)) % len(sentences)]
        yield first, second, "same" if topic == other else "other"


def lengths() -> Iterator[Row]:
    """120 rows (sentence, a tenth of its number of letters)."""
    for sentence, _ in topics():
        yield sentence, f"{len(sentence) / 10:.1f}"


def write_csv(path: Path, header: Row, rows: Iterable[Row]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows((header, *rows))
    return path


def write_topics(path: Path) -> Path:
    return write_csv(path, ("text", "label"), topics())
