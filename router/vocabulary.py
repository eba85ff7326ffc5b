"""What people call the things that the detector has names for.

In: words of a question, lower case. Out: `Noun`, which says how many words name it and the COCO-80 labels it means.
A word that is narrower than its labels ("officer" for person) says so, since the detector cannot tell them apart.
It knows no grammar; `understand` is next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from foveate.vision.vocabulary import COCO

_ANIMALS = "bird cat dog horse sheep cow elephant bear zebra giraffe"

# Words that mean the label itself.
_SYNONYMS = {
    "person": "people persons human humans individual individuals anyone anybody someone somebody everyone everybody "
    "nobody pedestrian pedestrians passer-by passers-by passerby passersby folks",
    "bicycle": "bike bikes cycle push-bike",
    "car": "automobile automobiles cars",
    "motorcycle": "motorbike motorbikes moped mopeds scooter scooters",
    "airplane": "plane planes aeroplane aeroplanes aircraft jet jets",
    "truck": "lorry lorries",
    "boat": "boats ship ships vessel vessels",
    "traffic light": "traffic_lights stoplight stoplights traffic_signal traffic_signals",
    "couch": "sofa sofas couches",
    "tv": "television televisions tvs monitor monitors screen screens",
    "cell phone": "phone phones cellphone cellphones mobile mobiles smartphone smartphones mobile_phone mobile_phones",
    "refrigerator": "fridge fridges",
    "donut": "doughnut doughnuts",
    "hair drier": "hairdryer hairdryers hair_dryer hair_dryers",
    "potted plant": "plant plants houseplant houseplants",
    "dining table": "table tables",
    "sports ball": "ball balls football footballs basketball basketballs",
    "handbag": "purse purses",
    "cup": "mug mugs",
    "backpack": "rucksack rucksacks",
    "remote": "remote_control remote_controls",
    "laptop": "notebook_computer laptops",
    "knife": "knives",
    "mouse": "mice computer_mouse",
    "teddy bear": "teddy teddies",
    "skateboard": "skateboards",
    "dog": "hound hounds",
    "cow": "cattle bull bulls",
}
# Words that mean one of several labels.
_GROUPS = {
    "vehicle vehicles": "car truck bus motorcycle",
    "traffic": "car truck bus motorcycle bicycle",
    "animal animals pet pets creature creatures": _ANIMALS,
    "bag bags": "backpack handbag suitcase",
    "luggage baggage": "backpack suitcase",
    "furniture": "chair couch bed dining_table",
    "fruit fruits": "banana apple orange",
    "food": "banana apple sandwich orange broccoli carrot hot_dog pizza donut cake",
}
# Words that are narrower than what the detector names.
_NARROWER = {
    "man men woman women boy boys girl girls child children kid kids baby babies toddler adult adults guy guys lady "
    "ladies male males female females officer officers policeman policemen police cop cops guard guards customer "
    "customers worker workers employee employees staff visitor visitors shopper shoppers student students patient "
    "patients nurse nurses doctor doctors driver drivers firefighter firefighters suspect suspects intruder "
    "intruders thief thieves colleague colleagues teacher teachers passenger passengers runner runners player "
    "players skater skaters": "person",
    "cyclist cyclists biker bikers rider riders": "bicycle",
    "taxi taxis cab cabs suv suvs sedan sedans limousine hatchback police_car police_cars": "car",
    "van vans pickup pickups minivan minivans": "car truck",
    "ambulance ambulances fire_truck fire_trucks fire_engine fire_engines": "truck",
    "puppy puppies": "dog",
    "kitten kittens": "cat",
    "pigeon pigeons seagull seagulls crow crows duck ducks": "bird",
    "pony ponies": "horse",
    "lamb lambs": "sheep",
    "calf calves": "cow",
}
# Compounds that hold a label's name but mean a place or something else.
_NOT_THE_THING = (
    "bus stop,car park,parking lot,train station,bus station,dog park,bus lane,bike lane,phone number,"
    "checkout counter,train tracks,book shop,plant pot,car door,person in charge,"
    "number plate,number plates,licence plate,licence plates,license plate,license plates"
)
LONGEST = 3


def word_set(words: str) -> frozenset[str]:
    """The words of a line, for tables that are easier to read as lines."""
    return frozenset(words.split())


@dataclass(frozen=True, slots=True)
class Noun:
    """A match of `length` words; no labels for a compound that only sounds like one."""

    length: int
    labels: tuple[str, ...]
    narrower: bool = False


def _plurals(name: str) -> tuple[str, ...]:
    if name.endswith(("s", "sh", "ch", "x")):
        return (name, name + "es")
    if name.endswith("y") and name[-2] not in "aeiou":
        return (name, name[:-1] + "ies")
    return (name, name + "s")


def _in_order(labels: str) -> tuple[str, ...]:
    wanted = {label.replace("_", " ") for label in labels.split()}
    return tuple(label for label in COCO if label in wanted)


def _lexicon() -> Mapping[str, Noun]:
    found: dict[str, Noun] = {}

    def add(words: Sequence[str], labels: tuple[str, ...], *, narrower: bool = False) -> None:
        for word in words:
            phrase = word.replace("_", " ")
            found.setdefault(phrase, Noun(phrase.count(" ") + 1, labels, narrower))

    for label in COCO:
        add(_plurals(label), (label,))
    for label, words in _SYNONYMS.items():
        add(words.split(), (label,))
    for words, labels in _GROUPS.items():
        add(words.split(), _in_order(labels))
    for words, labels in _NARROWER.items():
        add(words.split(), _in_order(labels), narrower=True)
    add(_NOT_THE_THING.replace(" ", "_").split(","), ())
    return found


LEXICON: Mapping[str, Noun] = _lexicon()
"""Every phrase that is known, to what it means; built once from the tables above."""


def noun_at(words: Sequence[str], index: int) -> Noun | None:
    """The longest known phrase that starts at this word, None when there is none."""
    for length in range(min(LONGEST, len(words) - index), 0, -1):
        noun = LEXICON.get(" ".join(words[index : index + length]))
        if noun is not None:
            return noun
    return None
