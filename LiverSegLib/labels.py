"""What the values of a label map mean: `Label`, and all that is known of organs, their segments and their lesions.

A label belongs to an organ by data alone: the tables below are the only place that knows names of organs, segments
and lesions. Everything else asks a label what it is `part_of`, and whether it is a lesion in it (`is_lesion`) or makes
it up together with others (`is_piece`).
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

Color = tuple[int, int, int]

MAIN_ORGAN = "liver"
"""The organ that a lesion belongs to where nothing else is said."""
LESION = "tumor"
"""The name of a lesion that does not say whose it is."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """One value of a label map and what it means.

    Args:
        value: the voxel value, 1 to 255.
        name: lower-case name, for example "liver" or "liver_segment_4".
        color: red, green, blue, 0 to 255.
        terminology: Slicer's serialized terminology entry (SNOMED CT codes), or "" where none is known.
        display_name: for people, for example "Liver tumor" or "Liver segment IV".
        part_of: the name of the organ that it is a part of; None for what stands alone.
        is_lesion: it is a lesion, which is counted and measured one by one and lies inside its organ.
    """

    value: int
    name: str
    color: Color
    terminology: str = ""
    display_name: str = ""
    part_of: str | None = None
    is_lesion: bool = False

    @property
    def segment_id(self) -> str:
        """ID of our segment in a Slicer segmentation; only segments of this name are ever replaced."""
        return f"LiverSeg_{self.name}"

    @property
    def is_piece(self) -> bool:
        """It makes up its organ together with others, as the Couinaud segments do; a lesion only lies in it."""
        return self.part_of is not None and not self.is_lesion


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a label is in codes of SNOMED CT, each a code and its meaning.

    Args:
        category: the kind of thing, for example "Anatomical Structure".
        kind: the thing itself, for example "Liver".
        region: where it lies, for example a neoplasm in the liver; None where that says nothing more.
    """

    category: tuple[str, str]
    kind: tuple[str, str]
    region: tuple[str, str] | None = None


_TISSUE = ("85756007", "Tissue")


@dataclass(frozen=True)
class _Code:
    """An entry of SNOMED CT and a color; that of an organ is the one of Slicer's General Anatomy list."""

    color: Color
    code: str
    meaning: str


_ORGANS = {
    "liver": _Code((221, 130, 101), "10200004", "Liver"),
    "lung": _Code((197, 165, 145), "39607008", "Lung"),
    "lungs": _Code((197, 165, 145), "39607008", "Lung"),
    "spleen": _Code((157, 108, 162), "78961009", "Spleen"),
    "kidney": _Code((185, 102, 83), "64033007", "Kidney"),
    "kidneys": _Code((185, 102, 83), "64033007", "Kidney"),
    "stomach": _Code((216, 132, 105), "69695003", "Stomach"),
    "pancreas": _Code((249, 180, 111), "15776009", "Pancreas"),
    "gallbladder": _Code((139, 150, 98), "28231008", "Gallbladder"),
    "aorta": _Code((224, 97, 76), "15825003", "Aorta"),
}
_LESION_CODES = frozenset({"108369006", "86049000", "52988006"})
"""Neoplasm, primary neoplasm, lesion."""
_NEOPLASM = _Code((255, 214, 0), "108369006", "Neoplasm")


@dataclass(frozen=True)
class _Piece:
    """One of the parts that make up an organ; `short` is what it is called where the organ is known."""

    organ: str
    short: str
    code: _Code


# DICOM CID 7170. The colors are bright enough for a gray CT and far from liver and lesion; neighbors can be told apart
# without red or green, too.
_COUINAUD = (
    ("I", (236, 255, 140), "71133005"),
    ("II", (217, 0, 36), "277956007"),
    ("III", (178, 98, 152), "277957003"),
    ("IV", (89, 227, 255), "277958008"),
    ("V", (144, 89, 255), "277959000"),
    ("VI", (62, 178, 120), "277960005"),
    ("VII", (140, 178, 255), "277961009"),
    ("VIII", (255, 128, 0), "277962002"),
)
_PIECES = {
    f"{MAIN_ORGAN}_segment_{number}": _Piece(MAIN_ORGAN, roman, _Code(color, code, f"Couinaud hepatic segment {roman}"))
    for number, (roman, color, code) in enumerate(_COUINAUD, start=1)
}
KNOWN_NAMES = (*_ORGANS, LESION, *_PIECES)
"""The names with a color and a terminology of their own."""
SOLID = frozenset({MAIN_ORGAN})
"""Organs that are one body without holes, their lesions included, in every patient."""
LARGEST_ML = {MAIN_ORGAN: 6000.0}
"""Above this even very sick organs are rare: whatever has more is hardly that organ."""
# Words for a lesion, alone or after an organ: "kidney_tumor", "lung lesion".
_LESION_WORDS = frozenset({"tumor", "tumour", "lesion", "cancer"})
# Spellings that bundles use for the same thing, with "_" for spaces.
_SYNONYMS = {f"{MAIN_ORGAN}_{LESION}": LESION} | dict.fromkeys(_LESION_WORDS, LESION)
_SYNONYMS |= {
    f"{words}_{count}": name
    for number, (name, piece) in enumerate(_PIECES.items(), start=1)
    for words in (f"{MAIN_ORGAN}_segment", "segment", "couinaud", "couinaud_segment")
    for count in (number, piece.short.lower())
}
_VESSELS = frozenset(
    f"{organ}_{kind}" for organ in (MAIN_ORGAN, "hepatic") for kind in ("vessel", "vessels", "vein", "veins")
)
_GOLDEN = 0.6180339887
_PALETTE = ((46, 134, 171), (241, 143, 1), (94, 177, 91), (178, 79, 130), (199, 62, 29), (120, 120, 200))


def label_for(value: int, name: str) -> Label:
    """A `Label` with the color and terms that belong to `name`, or a plain one for other names.

    A lesion that does not say whose it is belongs to the liver; see `labels_for` for those of other organs.
    """
    key = name.strip().lower()
    key = _SYNONYMS.get("_".join(key.split()), key)
    shown = (key[:1].upper() + key[1:]).replace("_", " ")
    organ, is_lesion = _lesion_of(key)
    if is_lesion:
        return lesion_in(Label(value=value, name=key, color=_NEOPLASM.color, display_name=shown, is_lesion=True), organ)
    piece = _PIECES.get(key)
    known = piece.code if piece is not None else _ORGANS.get(key)
    if known is not None:
        # Slicer shows the meaning that is written here for what its own list does not hold, such as the segments.
        entry = _entry("3D Slicer General Anatomy list", "123037004^Anatomical Structure", known, None)
        label = Label(value=value, name=key, color=known.color, terminology=entry, display_name=shown)
        return label if piece is None else _in_its_organ(label, piece)
    color = _PALETTE[value] if value < len(_PALETTE) else spread_color(value)
    return Label(value=value, name=key, color=color, display_name=shown)


def _in_its_organ(label: Label, piece: _Piece) -> Label:
    return replace(label, part_of=piece.organ, display_name=f"{_ORGANS[piece.organ].meaning} segment {piece.short}")


def labels_for(names: Mapping[int, str]) -> tuple[Label, ...]:
    """The labels of one label map, in rising order of value.

    A lesion that does not say whose it is belongs to the liver where that or a segment of it is there, else to the
    only organ beside it. Without any organ it is taken for one of the liver; beside several others it belongs to none.
    """
    labels = tuple(label_for(value, names[value]) for value in sorted(names))
    there = (label.part_of if label.is_piece else label.name for label in labels)
    organs = [name for name in dict.fromkeys(there) if name in _ORGANS]
    return tuple(_at_home(label, organs) if label.is_lesion and organs else label for label in labels)


def _at_home(lesion: Label, organs: Sequence[str]) -> Label:
    """The lesion as a part of one of `organs`: its own, also by its other name ("kidneys")."""
    if lesion.part_of in organs:
        return lesion
    code = _ORGANS[lesion.part_of].code if lesion.part_of in _ORGANS else ""
    same = [organ for organ in organs if _ORGANS[organ].code == code]
    if not same and lesion.name != LESION:
        return lesion
    fitting = same or organs
    return lesion_in(lesion, fitting[0] if len(fitting) == 1 else None)


def terms_of(label: Label) -> Terms:
    """The codes of a label, out of its terminology entry; what has none is called a tissue, as in Slicer."""
    parts = [tuple(part.split("^")) for part in label.terminology.split("~")]
    coded = [(part[1], part[2]) if len(part) == 3 and part[0] == "SCT" and part[1] else None for part in parts]
    # Context, category, type and its modifier, anatomic context, region and its modifier.
    _, category, kind, _, _, region, _ = [*coded, *[None] * 7][:7]
    return Terms(category=category or _TISSUE, kind=kind or _TISSUE, region=region)


def lesion_in(lesion: Label, organ: str | None) -> Label:
    """The lesion as a part of `organ`, with the terms and the display name that follow; None: of no organ."""
    known = _ORGANS.get(organ or "")
    shown = lesion.display_name
    if lesion.name == LESION:
        shown = f"{known.meaning} {LESION}" if known is not None else LESION.capitalize()
    entry = _entry("DICOM master list", "49755003^Morphologically Altered Structure", _NEOPLASM, known)
    return replace(lesion, part_of=organ, terminology=entry, display_name=shown)


def known_by_code(code: str, region: str = "") -> str | None:
    """Our name for an entry of SNOMED CT, also for the neoplasm of the organ `region`; None where we have none."""
    organs = {known.code: name for name, known in reversed(_ORGANS.items())}
    if code in _LESION_CODES and region in organs:
        organ = organs[region]
        return LESION if organ == MAIN_ORGAN else f"{organ}_{LESION}"
    pieces = {piece.code.code: name for name, piece in _PIECES.items()}
    return None if region else (organs | pieces).get(code)


def spread_color(value: int) -> Color:
    """A color for one of many labels; those of neighboring values differ most."""
    hue = value * _GOLDEN % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, (0.75, 0.55, 0.9)[value % 3], (0.95, 0.8, 0.7)[value // 3 % 3])
    return round(255 * red), round(255 * green), round(255 * blue)


def display_name(name: str) -> str:
    """How a label is called on the screen: "liver" -> "Liver", "tumor" -> "Liver tumor"."""
    return label_for(1, name).display_name


def short_name(name: str) -> str:
    """How a label is called beside others of its organ: "liver_segment_4" -> "IV"; any other keeps its name."""
    return _PIECES[name].short if name in _PIECES else name


def organs_of_pieces(labels: Sequence[Label]) -> tuple[str, ...]:
    """The organs that are no label themselves, but of which all pieces are."""
    names = {label.name for label in labels}
    needed: dict[str, set[str]] = {}
    for name, piece in _PIECES.items():
        needed.setdefault(piece.organ, set()).add(name)
    return tuple(organ for organ, pieces in needed.items() if organ not in names and pieces <= names)


def values_of(name: str, labels: Sequence[Label]) -> tuple[int, ...]:
    """The values that count as `name`: its own, then those of its pieces and lesions.

    All pieces of an organ together are the organ where it is no label itself. None where it is not among the labels:
    lesions alone, or some of its pieces, are no organ.
    """
    own = [label.value for label in labels if label.name == name]
    if not own and name not in organs_of_pieces(labels):
        return ()
    return (*own, *(label.value for label in labels if label.part_of == name))


def of_main_organ(labels: Sequence[Label]) -> list[Label]:
    """The labels that belong to the main organ: itself, its pieces and lesions, and vessels that are named by it."""
    if not values_of(MAIN_ORGAN, labels):
        return []
    named = {label.name for label in labels if "_".join(label.name.split()) in _VESSELS}
    return [label for label in labels if MAIN_ORGAN in (label.name, label.part_of) or label.name in named]


def subject_of(labels: Sequence[Label]) -> str | None:
    """The organ that a label map is about: the main one, else its only label; None where there are several."""
    if values_of(MAIN_ORGAN, labels):
        return MAIN_ORGAN
    return labels[0].name if len(labels) == 1 else None


def organs_first(labels: Sequence[Label]) -> list[Label]:
    """The labels with those first that hold others, and the main organ, then pieces, then what lies inside them."""
    holders = _holders(labels)
    return sorted(labels, key=lambda label: 0 if label.name in holders else 1 if label.is_piece else 2)


def by_rank(labels: Iterable[Label]) -> list[Label]:
    """The organs that hold others, and the main organ, then all lesions, then the others; each by value."""
    found = sorted(labels, key=lambda label: label.value)
    holders = _holders(found)
    return sorted(found, key=lambda label: 0 if label.name in holders else 1 if label.is_lesion else 2)


def _holders(labels: Iterable[Label]) -> set[str | None]:
    return {label.part_of for label in labels} | {MAIN_ORGAN}


def _lesion_of(key: str) -> tuple[str | None, bool]:
    """The organ that a name puts a lesion into, and whether it is a lesion at all."""
    if key == LESION:
        return MAIN_ORGAN, True
    organ, _, word = key.replace(" ", "_").rpartition("_")
    return (organ, True) if organ in _ORGANS and word in _LESION_WORDS else (None, False)


def _entry(context: str, category: str, kind: _Code, region: _Code | None) -> str:
    """Slicer's serialized terminology entry: context, category, type, anatomic context and region."""
    where = f"SCT^{region.code}^{region.meaning}" if region is not None else "^^"
    what = f"SCT^{category}~SCT^{kind.code}^{kind.meaning}"
    return f"Segmentation category and type - {context}~{what}~^^~Anatomic codes - DICOM master list~{where}~^^"
