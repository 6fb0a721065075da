"""References in five styles, made of parts that are drawn, and the words and fields of a text."""

import random
import re
from collections.abc import Sequence

FIELDS = ["other", "author", "title", "venue", "year", "volume", "pages"]

WORD = re.compile(r"\w+|[^\w\s]")
"""A word, or a sign: each has a field."""

Piece = tuple[str, str]
Person = tuple[str, list[str]]

STARTS = "Al Bar Ca Do En Fer Gar Hol In Jo Ka Lu Mar No Or Pe Ra Sha Ta Ur Va Wei Ya Zu".split()
MIDDLES = "ber da ki la mi na ro sa ti va wa zee".split()
ENDS = "man son ov ski es eda er ini wani rez ton ck".split()
GIVEN = (
    "Ada Boris Chen Dana Emil Fatima Grace Hugo Iris Jun Kofi Lena Mona Noam Olga Paul Rosa Sven Tao".split()
)
TOPICS = """
attention genomes proteins sequences enhancers transcription splicing networks alignment phylogenies
chromatin embeddings recombination expression variants motifs neurons climate galaxies polymers markets
languages vaccines
""".split()
ADJECTIVES = (
    "deep sparse efficient robust large hierarchical probabilistic neural fast comparative adaptive".split()
)
VERBS = "predicting learning modelling mapping aligning measuring explaining searching simulating".split()
METHODS = [
    "transformers",
    "hidden Markov models",
    "random forests",
    "graph kernels",
    "long reads",
    "small data",
]
AREAS = [
    "Biology",
    "Genetics",
    "Computing",
    "Statistics",
    "Physics",
    "Chemistry",
    "Machine Learning",
    "Ecology",
]


def citation(rng: random.Random) -> list[Piece]:
    """One reference: pieces of text, each with its field."""
    people = [_person(rng) for _ in range(rng.choice([1, 1, 2, 2, 3, 4, 6]))]
    parts = {
        "title": _title(rng),
        "venue": _venue(rng),
        "year": str(rng.randint(1950, 2025)),
        "volume": str(rng.randint(1, 400)),
        "number": str(rng.randint(1, 12)),
        "pages": _pages(rng),
    }
    pieces = rng.choice([_apa, _nature, _vancouver, _mla, _year_first])(rng, people, parts)
    return [piece for piece in pieces if piece[0]]


def words_of(text: str) -> list[str]:
    """The words and signs of a text.

    >>> words_of("Vaswani A. 2017.")
    ['Vaswani', 'A', '.', '2017', '.']
    """
    return WORD.findall(text)


def labelled(pieces: Sequence[Piece]) -> tuple[str, list[str], list[str]]:
    """(text, words, the field of each) of a reference."""
    words = [(word, field) for text, field in pieces for word in words_of(text)]
    return "".join(text for text, _ in pieces), [word for word, _ in words], [field for _, field in words]


def tagged(text: str, fields: Sequence[str]) -> str:
    """The text with a tag around the words of each field.

    >>> tagged("Noam S. 2017.", ["author", "author", "author", "year", "other"])
    '<author>Noam S.</author> <year>2017</year>.'
    """
    found, before, end = "", "other", 0
    for place, field in zip(WORD.finditer(text), fields, strict=True):
        gap = text[end : place.start()]
        if field != before:
            found += f"</{before}>" if before != "other" else ""
            found += gap + (f"<{field}>" if field != "other" else "")
        else:
            found += gap
        found += place.group()
        before, end = field, place.end()
    return found + (f"</{before}>" if before != "other" else "") + text[end:]


def _apa(rng: random.Random, people: list[Person], part: dict[str, str]) -> list[Piece]:
    names = [f"{last}, {' '.join(f'{one[0]}.' for one in given)}" for last, given in people]
    authors = names[0] if len(names) == 1 else ", ".join(names[:-1]) + f", & {names[-1]}"
    number = rng.random() < 0.5
    return [
        (authors, "author"), (" (", "other"), (part["year"], "year"), ("). ", "other"),
        (part["title"], "title"), (". ", "other"), (part["venue"], "venue"), (", ", "other"),
        (part["volume"], "volume"), (f"({part['number']})" if number else "", "other"), (", ", "other"),
        (part["pages"], "pages"), (".", "other"),
    ]  # fmt: skip


def _nature(rng: random.Random, people: list[Person], part: dict[str, str]) -> list[Piece]:
    names = [f"{last}, {' '.join(f'{one[0]}.' for one in given)}" for last, given in people]
    authors = f"{names[0]} et al." if len(names) > 2 else " & ".join(names)
    return [
        (authors, "author"), (" ", "other"), (part["title"], "title"), (". ", "other"),
        (part["venue"], "venue"), (" ", "other"), (part["volume"], "volume"), (", ", "other"),
        (part["pages"], "pages"), (" (", "other"), (part["year"], "year"), (").", "other"),
    ]  # fmt: skip


def _vancouver(rng: random.Random, people: list[Person], part: dict[str, str]) -> list[Piece]:
    names = [f"{last} {''.join(one[0] for one in given)}" for last, given in people]
    authors = ", ".join(names[:3]) + (", et al" if len(names) > 3 else "")
    return [
        (authors, "author"), (". ", "other"), (part["title"], "title"), (". ", "other"),
        (part["venue"], "venue"), (". ", "other"), (part["year"], "year"), (";", "other"),
        (part["volume"], "volume"), (f"({part['number']}):", "other"), (part["pages"], "pages"),
        (".", "other"),
    ]  # fmt: skip


def _mla(rng: random.Random, people: list[Person], part: dict[str, str]) -> list[Piece]:
    names = [f"{people[0][0]}, {' '.join(people[0][1])}"]
    names += [f"{' '.join(given)} {last}" for last, given in people[1:]]
    authors = f"{names[0]}, et al." if len(names) > 2 else ", and ".join(names)
    return [
        (authors, "author"), (' "' if authors.endswith(".") else '. "', "other"), (part["title"], "title"),
        ('." ', "other"), (part["venue"], "venue"), (", vol. ", "other"), (part["volume"], "volume"),
        (f", no. {part['number']}, ", "other"), (part["year"], "year"), (", pp. ", "other"),
        (part["pages"], "pages"), (".", "other"),
    ]  # fmt: skip


def _year_first(rng: random.Random, people: list[Person], part: dict[str, str]) -> list[Piece]:
    names = [f"{last} {' '.join(f'{one[0]}.' for one in given)}" for last, given in people]
    authors = f"{names[0]} et al." if len(names) > 2 else " and ".join(names)
    rest = [
        (" ", "other"), (part["volume"], "volume"), (": ", "other"), (part["pages"], "pages"), (".", "other")
    ]  # fmt: skip
    short = rng.random() < 0.3  # as many a reference ends with its venue
    return [
        (authors, "author"), (" ", "other"), (part["year"], "year"), (". ", "other"),
        (part["title"], "title"), (". ", "other"), (part["venue"], "venue"),
        *([(".", "other")] if short else rest),
    ]  # fmt: skip


def _person(rng: random.Random) -> Person:
    last = rng.choice(STARTS) + "".join(rng.choices(MIDDLES, k=rng.randint(0, 2))) + rng.choice(ENDS)
    return last, rng.sample(GIVEN, rng.choice([1, 1, 2]))


def _title(rng: random.Random) -> str:
    topic, other = rng.sample(TOPICS, 2)
    title = rng.choice(
        [
            f"{rng.choice(ADJECTIVES)} {rng.choice(METHODS)} for {rng.choice(VERBS)} {topic}",
            f"{rng.choice(VERBS)} {topic} from {other} with {rng.choice(METHODS)}",
            f"{topic} is all you need",
            f"{topic}: a {rng.choice(ADJECTIVES)} approach to {other}",
            f"on the {rng.choice(ADJECTIVES)} origin of {topic} in {other}",
        ]
    )
    return title[0].upper() + title[1:]


def _venue(rng: random.Random) -> str:
    area, other = rng.sample(AREAS, 2)
    return rng.choice(
        [
            f"Journal of {area}",
            f"Annals of {area} and {other}",
            f"{area} Letters",
            f"Nature {area}",
            f"Proceedings of the Conference on {area}",
            f"Trends in {area}",
        ]
    )


def _pages(rng: random.Random) -> str:
    first = rng.randint(1, 6000)
    if rng.random() < 0.15:
        return f"e{first}"
    return f"{first}{rng.choice('-–')}{first + rng.randint(1, 30)}"
