"""What a question is about: the labels its noun means, and the words that say more than a detector sees.

In: the words that are left once cameras and times are taken out. Out: `Subject`. Every word that is neither grammar nor
the noun is kept: as a place ("at the door"), or as unseen ("red", "with a dog"), so that nothing is dropped silently.
It knows no task beyond whether things are counted; `understand` is next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from router.colours import COLOURS, colours_of
from router.vocabulary import Noun, noun_at, word_set
from router.words import FUNCTION

_COLOURS = frozenset(COLOURS) - {"orange"} | word_set("silver golden dark bright beige")
_CLOTHES = word_set(
    "shirt jacket coat hat cap helmet uniform dress skirt trousers jeans shoes vest hoodie mask gloves suit beard "
    "sunglasses scarf apron"
)
_POSITIONS = word_set(
    "left right background foreground corner middle centre center top bottom side far distance floor ground"
)
_NOT_PLACES = _COLOURS | _CLOTHES | _POSITIONS
# Grammar, courtesy, words of the task itself, the camera's own view, and the verbs that mean no more than being seen.
_NEUTRAL = (
    FUNCTION
    | word_set(
        "appear appears appeared appearing appearance pass passes passed passing come comes came coming arrive "
        "arrives "
        "arrived arriving enter enters entered entering visible present go goes went going gone leave leaves leaving "
        "disappear disappears disappeared disappearing depart departs departed vanish vanished show shows "
        "showed shown "
        "showing up spot spotted detect detects detected detecting record recorded recording recordings notice "
        "noticed "
        "look looks looking search locate located number total exist exists visit visits visited cross crosses "
        "crossed "
        "crossing happening transcribe long ago happen happens happened walk walks walked drive drives drove "
        "driven by "
        "past pass-by through "
        "into get "
        "camera cameras video videos footage clip clips film picture pictures image images frame frames scene view "
        "sight feed stream event events moment moments times hour second minute which time hello hi hey thanks thank "
        "please tell know want need check whether about there here out outside inside outdoors indoors around also "
        "then else other others more than most few fewer less many much some every each both either such same "
        "several "
        "single different first last latest earliest recent recently just only still already yet once again before "
        "after later earlier ever never always all any nothing none anything something everything empty not had "
        "having "
        "am will would shall should might must let list give how often like over away anywhere somewhere front "
        "initial "
        "initially begin began begins start started starts street road room place area site device kind type sort "
        "colour color mood say says said saying read reads hear heard written doing difference compare differ "
        "described summary minute "
        "longer too us our my its "
        "their exactly approximately roughly currently kindly ones thing things"
    )
) - _COLOURS
_DEFINITE = word_set("the this that our my your")
_JOINS = _DEFINITE | word_set("a an any some of with without in on at by near from behind under next to and or")
_PLACING = word_set(
    "in on at by near from inside outside around through into across over past enter enters entered entering leave "
    "leaves leaving cross crosses crossed crossing visit visits visited pass passes passed passing reach"
)
# Words that ask for a person without naming one.
_NAMELESS = dict.fromkeys(word_set("nobody anybody anyone somebody someone everybody everyone"), "person")
_BETWEEN_NOUNS = word_set("or and , a an any the some")


@dataclass(frozen=True, slots=True)
class Subject:
    """What is asked about; `phrase` is in the asker's words.

    `unseen` narrows the subject beyond what a detector sees, `wider` was taken for something wider, `places` was taken
    for the camera's view; it has one of the `colours`.
    """

    phrase: str
    labels: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    wider: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    colours: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Piece:
    """A noun with its labels, or one word; `grammar` words carry nothing of their own."""

    text: str
    noun: Noun | None = None

    @property
    def grammar(self) -> bool:
        return self.noun is None and self.text in _NEUTRAL | {","}


def subject_of(words: Sequence[str], *, count: bool) -> Subject:
    """The subject of the words; `count` says that "and" adds things up; otherwise it asks for them together."""
    pieces = _pieces(words)
    first = next((index for index, piece in enumerate(pieces) if piece.noun), None)
    if first is None:
        return _unknown(pieces)
    nouns, end = _run_of_nouns(pieces, first, count=count)
    before = _stretches(pieces[:first])
    after = _stretches(pieces[end:])
    places = [_trimmed(stretch) for stretch in (*before, *after) if _is_place(stretch)]
    unseen = [_trimmed(stretch) for stretch in before if not _is_place(stretch)]
    unseen += [_text(stretch) for stretch in after if not _is_place(stretch)]
    labels = dict.fromkeys(label for piece in nouns if piece.noun for label in piece.noun.labels)
    colours, unseen = colours_of(unseen)
    return Subject(
        phrase=(" and " if count else " or ").join(_NAMELESS.get(piece.text, piece.text) for piece in nouns),
        labels=tuple(labels),
        unseen=tuple(unseen),
        wider=tuple(piece.text for piece in nouns if piece.noun and piece.noun.narrower),
        places=tuple(places),
        colours=colours,
    )


def _unknown(pieces: Sequence[_Piece]) -> Subject:
    """A subject that no label means: the words that carry something, places apart."""
    stretches = _stretches(pieces)
    things = [_trimmed(stretch) for stretch in stretches if not _is_place(stretch)]
    places = [_trimmed(stretch) for stretch in stretches if _is_place(stretch)]
    return Subject(phrase=" ".join(things), places=tuple(places))


def _pieces(words: Sequence[str]) -> list[_Piece]:
    pieces, index = [], 0
    while index < len(words):
        if words[index] == "not" and words[index + 1 : index + 2] and words[index + 1] in COLOURS:
            pieces.append(_Piece(f"not {words[index + 1]}"))
            index += 2
            continue
        noun = noun_at(words, index)
        # "An orange car" names a colour, not a fruit.
        colour = noun is not None and words[index] == "orange" and noun_at(words, index + 1) is not None
        if noun is None or colour:
            pieces.append(_Piece(words[index]))
            index += 1
            continue
        text = " ".join(words[index : index + noun.length])
        pieces.append(_Piece(text, noun if noun.labels else None))
        index += noun.length
    return pieces


def _run_of_nouns(pieces: Sequence[_Piece], first: int, *, count: bool) -> tuple[list[_Piece], int]:
    """The noun with those that `or` (when counting also `and`) joins to it, and the index after them."""
    nouns, end = [pieces[first]], first + 1
    while True:
        index = end
        while index < len(pieces) and not pieces[index].noun and pieces[index].text in _BETWEEN_NOUNS:
            index += 1
        between = {piece.text for piece in pieces[end:index]}
        joined = between & ({"or", ",", "and"} if count else {"or", ","})
        if index == len(pieces) or not pieces[index].noun or not joined or ("and" in between and not count):
            return nouns, end
        nouns.append(pieces[index])
        end = index + 1


def _stretches(pieces: Sequence[_Piece]) -> list[list[_Piece]]:
    """Runs of words that carry something, with the small words that lead to them and hold them together."""
    found: list[list[_Piece]] = []
    run: list[_Piece] = []
    for piece in (*pieces, _Piece(",")):
        if not piece.grammar or (piece.text in _JOINS | _PLACING):
            run.append(piece)
            continue
        while run and run[-1].grammar:
            run.pop()
        if run:
            found.append(run)
        run = []
    return found


def _is_place(stretch: Sequence[_Piece]) -> bool:
    """Whether the stretch reads as "at the door": a preposition, a definite word, and nothing that would be seen."""
    small = [piece.text for piece in stretch if piece.grammar]
    rest = [piece for piece in stretch if not piece.grammar]
    lead = [piece.text for piece in stretch[: len(small)]]
    return (
        len(small) >= 2
        and small == lead
        and small[-2] in _PLACING
        and small[-1] in _DEFINITE
        and not any(piece.noun or set(piece.text.split()) & _NOT_PLACES for piece in rest)
    )


def _trimmed(stretch: Sequence[_Piece]) -> str:
    first = next(index for index, piece in enumerate(stretch) if not piece.grammar)
    return _text(stretch[first:])


def _text(stretch: Sequence[_Piece]) -> str:
    return " ".join(piece.text for piece in stretch)
