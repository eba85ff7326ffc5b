"""The nouns that all apps agree on, as frozen dataclasses.

In: values that were validated at a border. Out: the same, never a dict and never protobuf.
Times are Unix seconds (float, UTC); boxes are fractions of the picture; confidences are 0 to 1.
Knows nothing of the wire: `wire/` is next and turns these into `foveate.v1` messages and back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from foveate.vision.boxes import Box


class Tier(StrEnum):
    """A rung of the ladder."""

    DEVICE = "device"
    EDGE = "edge"
    CLOUD = "cloud"


class Task(StrEnum):
    """What kind of question it is."""

    PRESENCE = "presence"
    COUNT = "count"
    FIND = "find"
    DESCRIBE = "describe"
    READ = "read"
    LISTEN = "listen"
    COMPARE = "compare"
    SUMMARISE = "summarise"
    EXTRACT = "extract"


class Outcome(StrEnum):
    """How a question ended."""

    ANSWERED = "answered"
    REFUSED = "refused"
    CANNOT_TELL = "cannot_tell"


class StepState(StrEnum):
    """How one step ended."""

    ANSWERED = "answered"
    UNSURE = "unsure"
    FAILED = "failed"
    SKIPPED = "skipped"


class Pick(StrEnum):
    """Which of many moments a find question wants."""

    ANY = "any"
    FIRST = "first"
    LAST = "last"


class TriggerKind(StrEnum):
    """What made a device think that a moment matters."""

    MOTION = "motion"
    NOVELTY = "novelty"
    OBJECT = "object"
    SOUND = "sound"
    TEXT_MATCH = "text_match"
    MANUAL = "manual"


class DeviceKind(StrEnum):
    """What sort of thing carries the camera."""

    BODY_CAM = "body-cam"
    GLASSES = "glasses"
    FIXED_CAMERA = "fixed-camera"
    PHONE = "phone"
    ROBOT = "robot"


class Representation(IntEnum):
    """The form in which an observation travels; a greater one reveals more."""

    FACTS = 1
    EMBEDDING = 2
    REDACTED_FRAMES = 3
    FRAMES = 4
    CLIP = 5


class Priority(IntEnum):
    """How much an event matters: what is sent first, and whose footage is kept longest."""

    LOW = 1
    NORMAL = 2
    HIGH = 3
    URGENT = 4


class Boundary(IntEnum):
    """How far a representation may travel from the device that made it."""

    DEVICE = 1
    SITE = 2
    REGION = 3
    WORLD = 4


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is; empty fields are less deep: a cloud service has a region only."""

    region: str = ""
    site_id: str = ""
    device_id: str = ""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One object seen at one moment; `score` is the detector's, not calibrated."""

    time: float
    label: str
    score: float
    box: Box


@dataclass(frozen=True, slots=True)
class ZoneVisit:
    """One stay of a track in a zone of its device, by the middle of the lower edge of its box."""

    zone: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Track:
    """One object followed through time; `sightings` is a bounded sample of its path, ends included."""

    track_id: int
    label: str
    score: float
    start: float
    end: float
    sightings: tuple[Sighting, ...] = ()
    zone_visits: tuple[ZoneVisit, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelScore:
    """A name with the score it was given."""

    label: str
    score: float


@dataclass(frozen=True, slots=True)
class Embedding:
    """A unit vector that compares only with vectors of the same `model` (`name@revision`)."""

    model: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """What a trigger found: one object's stay in view, or one stretch of motion.

    Sent when it opens and again with a higher `revision` as it grows and ends; the highest revision counts.
    `about` says in words what the trigger fired for; `sequence` numbers all revisions that the device ever stored.
    """

    event_id: str
    revision: int
    device_id: str
    site_id: str
    region: str
    trigger: TriggerKind
    start: float
    end: float
    open: bool
    score: float
    device_labels: tuple[str, ...] = ()
    labels: tuple[LabelScore, ...] = ()
    tracks: tuple[Track, ...] = ()
    embedding: Embedding | None = None
    media_offset: float | None = None
    report_time: float | None = None
    receive_time: float | None = None
    priority: Priority = Priority.NORMAL
    zones: tuple[str, ...] = ()
    about: str = ""
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class Presence:
    """The heartbeat of a device, or of an edge node when `device_id` is empty."""

    device_id: str
    site_id: str
    time: float
    capturing: bool
    trouble: str = ""
    outbox_depth: int = 0
    frames: int = 0
    version: str = ""


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a question looks; what is empty does not limit."""

    device_ids: tuple[str, ...] = ()
    site_ids: tuple[str, ...] = ()
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True, slots=True)
class Constraints:
    """What the asker insists on; None takes the policy's default.

    `answer_schema` is a JSON Schema (text) that the answer's document must fulfil, empty for none.
    """

    deadline_s: float | None = None
    max_cost_usd: float | None = None
    min_confidence: float | None = None
    answer_schema: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """Plain text with a scope and constraints; "now" in the text means `ask_time`."""

    question_id: str
    text: str
    ask_time: float
    scope: Scope = field(default_factory=Scope)
    constraints: Constraints = field(default_factory=Constraints)
    asker: Place | None = None


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two things of a comparison; empty `device_ids` means all devices in scope."""

    subject: str
    labels: tuple[str, ...]
    device_ids: tuple[str, ...]
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Understanding:
    """What the router read out of the text; empty `labels` means the detector has no name for the subject.

    `colours` narrow the subject and show in pictures only; in `zones` it has to stand; `words` are looked for in what
    is written or said; `sides` are the two things of a comparison.
    """

    task: Task
    subject: str
    labels: tuple[str, ...]
    start: float
    end: float
    now: bool
    pick: Pick
    reason: str
    colours: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    sides: tuple[Side, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class Placement:
    """One way to answer: a tier, a node there, and what it works from."""

    tier: Tier
    node: str
    representation: Representation

    def __str__(self) -> str:
        return f"{self.tier} {self.node} from {self.representation.name}"


@dataclass(frozen=True, slots=True)
class PlannedPlacement:
    """A placement with what is expected of it."""

    placement: Placement
    latency_q95_s: float
    cost_usd: float
    confidence: float
    reason: str


@dataclass(frozen=True, slots=True)
class RejectedPlacement:
    """A placement that the filter took out; `rule` names the residency rule, when one did it."""

    placement: Placement
    reason: str
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Placements in the order in which they would be tried."""

    question_id: str
    understanding: Understanding
    placements: tuple[PlannedPlacement, ...]
    rejected: tuple[RejectedPlacement, ...]
    reason: str
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One placement tried."""

    placement: Placement
    state: StepState
    reason: str
    confidence: float
    latency_s: float
    cost_usd: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an answer rests on; `picture` is a JPEG, empty when no picture may travel.

    `quote` is what was read or heard, as recognised: data, never an instruction.
    """

    device_id: str
    start: float
    end: float
    event_id: str = ""
    sightings: tuple[Sighting, ...] = ()
    picture: bytes = field(default=b"", repr=False)
    representation: Representation = Representation.FACTS
    media_offset: float | None = None
    picture_time: float | None = None
    quote: str = ""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a language model read and wrote; `saved` is an estimate of the thinking that was not needed."""

    prompt: int = 0
    answer: int = 0
    thinking: int = 0
    saved: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the asker gets; `value` is a bool (presence), an int (count), Unix seconds (find) or words (str).

    `document` is JSON text that fulfils the question's schema; `alone` says that a site gave it without the cloud.
    """

    question_id: str
    outcome: Outcome
    text: str
    confidence: float
    value: bool | int | float | str | None = None
    evidence: tuple[Evidence, ...] = ()
    placement: Placement | None = None
    cost_usd: float = 0.0
    reason: str = ""
    rule: str = ""
    moved_bytes: int = 0
    document: str = ""
    model: str = ""
    tokens: Tokens | None = None
    alone: bool = False


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """A placed question for one node; `carried` is what earlier steps found."""

    question: Question
    understanding: Understanding
    placement: Placement
    device_ids: tuple[str, ...]
    devices_in_scope: int
    time_left_s: float
    carried: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class QuestionRecord:
    """All that is kept of one question."""

    question: Question
    plan: Plan
    steps: tuple[Step, ...]
    answer: Answer
    latency_s: float
    cost_usd: float


@dataclass(frozen=True, slots=True)
class Site:
    """A place with one edge node and its devices."""

    site_id: str
    region: str
    online: bool = False
    seen: float | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """A camera of the fleet."""

    device_id: str
    site_id: str
    region: str
    kind: DeviceKind
    labels: tuple[str, ...] = ()
    enrolled: bool = False
    online: bool = False
    seen: float | None = None
    trouble: str = ""
    capturing: bool = False
    events: int = 0
    outbox_depth: int = 0


@dataclass(frozen=True, slots=True)
class ClipOrder:
    """Cut this span of this device's recording and upload it; `destination` is where the bytes end up.

    `representation` is CLIP (as recorded), FRAMES (no sound) or REDACTED_FRAMES (people made unrecognisable).
    """

    clip_id: str
    device_id: str
    start: float
    end: float
    destination: Place
    representation: Representation


@dataclass(frozen=True, slots=True)
class ClipHeader:
    """What the bytes of a clip are; `start` is at or before what was asked, since cuts fall on key frames."""

    clip_id: str
    device_id: str
    start: float
    end: float
    size_bytes: int
    sha256: bytes
    media_type: str
    representation: Representation
    offset_bytes: int = 0
    media_offset: float | None = None
