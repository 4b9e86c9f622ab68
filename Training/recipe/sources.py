"""Where a recipe's images and labels come from, as data."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from Training.recipe.options import Fraction, NotNegative, Part, Positive, Range

FIELD = re.compile(r"\{(\w+)\}")
IGNORE = 255
"""The value of voxels of which nobody knows what they are: they count neither in the loss nor in scores."""
Target = Annotated[int, BeforeValidator(lambda value: IGNORE if value == "ignore" else value)]
"""A label of the recipe, 0 for background, or the word `ignore`."""


class Mask(Part):
    """One label file of a case.

    `path` is a template with the fields of the source's `image`. Either `values` maps the file's voxel values to the
    recipe's labels (DICOM SEG: segment numbers; .npy, .png, NIfTI, NRRD: as stored), or everything `above` a gray
    value is `label` (JPEG masks are noisy). Several masks are joined; a later one wins where both are set.
    `ignore` as a label: these voxels count neither in the loss nor in scores.
    `others`: what a value that `values` does not name means: an error, or background.
    """

    path: str
    values: dict[int, Target] = Field(default={})
    above: float | None = None
    label: Annotated[Target, Field(ge=1)] = 1
    others: Literal["refuse", "background"] = "refuse"

    @model_validator(mode="after")
    def _one_way(self) -> Mask:
        if bool(self.values) == (self.above is not None):
            raise ValueError(f"mask {self.path}: give either values or above")
        return self

    @property
    def targets(self) -> set[int]:
        """The recipe's labels that this mask can hold."""
        return set(self.values.values()) if self.values else {self.label}


class SpacingTable(Part):
    """A CSV file that tells how large the pixels of pictures are.

    `file`: below the data folder. `name`: the column with the picture's file name. `x`, `y`: the columns with mm along
    the two axes of the picture once it runs left and posterior. A picture that is not listed keeps what it tells.
    """

    file: str
    name: str = "file"
    x: str
    y: str


class LabeledSource(Part):
    """What sources of labeled images share.

    `cohort`: sources of one cohort show the same people, so that a patient stays in one part of the split over all of
    them; left out, the source's name. `patients`: text of `{patient}` (or the case's name) -> the patient, where
    several names are one person or two sources call one person differently. `undivided`: {2: 1} says that label 2 is
    not drawn in this source but hidden in label 1; where the label says 1 the network may then answer 1 or 2. {3: 0}
    says that label 3 was not drawn at all: it is hidden in the background.
    """

    name: str
    cohort: str | None = None
    patients: dict[str, str] = Field(default={})
    undivided: dict[int, int] = Field(default={})
    weight: Positive = 1.0

    @property
    def targets(self) -> set[int]:
        """The recipe's labels that this source can hold."""
        return set()

    def person(self, patient: str) -> str:
        """Who decides the split: `<cohort>_<patient>`."""
        return f"{self.cohort or self.name}_{self.patients.get(patient, patient)}"


class FilesSource(LabeledSource):
    """Image and mask files found by templates, 2D or 3D.

    `image`: for example `ct/{name}_ct.nii.gz`, `images/{patient}_{slice}.dcm` or `dicom/{name}` (a folder of one
    series). Each field matches within one part of the path; `{patient}` decides the split, without it each case is
    a patient of its own. Formats: NIfTI, NRRD, MetaImage, DICOM (series folder, single slice, SEG), PNG, JPEG,
    TIFF, BMP, .npy.
    `further`: the images of the other channels, by the fields of `image`; `color`: a picture is not its luminance but
    three channels, red, green and blue.
    `window`: the values that 0 to 255 of an 8-bit picture stand for; None keeps them. `black`: the value of its
    darkest gray, where the window cut off everything below. `rows`: the axis that a picture's rows run along, "y"
    as usual or "x". `flip`: axis by the text of the field `{how}`, for slices stored turned over. `spacing`: where the
    size of a picture's pixels is told. `slab`: for 3D recipes, a slice stands for so many mm of body that do not
    change along z.
    `exclude`: names of cases that are left out on purpose.
    """

    kind: Literal["files"]
    image: str
    further: list[str] = Field(default=[])
    color: bool = False
    masks: list[Mask] = Field(min_length=1)
    window: Range | None = None
    black: float | None = None
    rows: Literal["x", "y"] = "y"
    flip: dict[str, Literal["x", "y"]] = Field(default={})
    spacing: SpacingTable | None = None
    slab: NotNegative = 0.0
    exclude: list[str] = Field(default=[])

    @model_validator(mode="after")
    def _fields_known(self) -> FilesSource:
        known = set(FIELD.findall(self.image))
        if not known:
            raise ValueError(f"image {self.image!r} has no field such as {{name}} or {{patient}}")
        for what, path in [
            *(("mask", mask.path) for mask in self.masks),
            *(("further", path) for path in self.further),
        ]:
            for field in FIELD.findall(path):
                if field not in known:
                    raise ValueError(f"{what} {path!r} has the field {field!r}, which image lacks")
        if self.further and (self.color or self.window or self.black or self.flip or self.rows == "x"):
            raise ValueError(
                "further images of a case cannot be pictures; window, black, flip, rows and color are for these"
            )
        return self

    @property
    def targets(self) -> set[int]:
        """The recipe's labels that this source can hold."""
        return set().union(*(mask.targets for mask in self.masks))


class MsdSource(LabeledSource):
    """A Medical Segmentation Decathlon folder with dataset.json; `labels` maps its values to the recipe's.

    `channels`: which of the images that `modality` in dataset.json tells a case is made of, by name or number, in the
    recipe's order; left out, all of them.
    """

    kind: Literal["msd"]
    folder: str
    labels: dict[int, Target]
    channels: list[int | str] = Field(default=[])
    others: Literal["refuse", "background"] = "refuse"
    exclude: list[str] = Field(default=[])

    @property
    def targets(self) -> set[int]:
        """The recipe's labels that this source can hold."""
        return set(self.labels.values())


class NnunetSource(LabeledSource):
    """A raw folder of nnU-Net version 2: dataset.json, imagesTr/NAME_0000.nii.gz and so on, labelsTr/NAME.nii.gz.

    `labels` maps its values, or their names in dataset.json, to the recipe's; its label `ignore` is understood without
    being named. Regions, which overlap, are named by their values. `channels`: which of its images a case is made of,
    by name or number, in the recipe's order; left out, all of them.
    """

    kind: Literal["nnunet"]
    folder: str
    labels: dict[int | str, Target] = Field(min_length=1)
    channels: list[int | str] = Field(default=[])
    others: Literal["refuse", "background"] = "refuse"
    exclude: list[str] = Field(default=[])

    @property
    def targets(self) -> set[int]:
        """The recipe's labels that this source can hold."""
        return set(self.labels.values())


class TotalSegmentatorSource(LabeledSource):
    """Folders of one case each with one file a structure: `s0001/ct.nii.gz`, `s0001/segmentations/liver.nii.gz`.

    `labels`: structure -> the recipe's label; several structures may share one, `rib_*` stands for all that begin so,
    and of structures that overlap the later one wins. `missing`: what it means that a case lacks the file of a
    structure: an error, or that it is not in the image. `segmentations`: the folder of the structures; `image`: the
    image's name, `mri.nii.gz` in the data set of MR.
    """

    kind: Literal["totalsegmentator"]
    folder: str
    labels: dict[str, Target] = Field(min_length=1)
    image: str = "ct.nii.gz"
    segmentations: str = "segmentations"
    missing: Literal["refuse", "background"] = "refuse"
    exclude: list[str] = Field(default=[])

    @property
    def targets(self) -> set[int]:
        """The recipe's labels that this source can hold."""
        return set(self.labels.values())


class BidsSource(LabeledSource):
    """A tree in the manner of BIDS: `sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz`, sessions or none; patient = subject.

    `images`: suffixes of a case's images, `[T1w]`, or several, one a channel in the recipe's order. `derivatives`: the
    folder of the label maps below `folder`, a tree of the same kind. `suffix` is that of the label maps. `entities`:
    what the name of the right label map says besides, for example {desc: manual}, where there are several.
    `labels` maps the values to the recipe's. Images without a label map are left out with a warning.
    """

    kind: Literal["bids"]
    folder: str
    images: list[str] = Field(default=["T1w"], min_length=1)
    datatype: str = "anat"
    derivatives: str
    suffix: str = "dseg"
    entities: dict[str, str] = Field(default={})
    labels: dict[int, Target] = Field(min_length=1)
    others: Literal["refuse", "background"] = "refuse"
    exclude: list[str] = Field(default=[])

    @property
    def targets(self) -> set[int]:
        """The recipe's labels that this source can hold."""
        return set(self.labels.values())


class EmptySource(LabeledSource):
    """A part of a volume that shows nothing of what is segmented: its slices `slices[0]` to `slices[1] - 1` along k.

    Slices without the organ teach a network what is not liver below and above it.
    """

    kind: Literal["empty"]
    image: str
    slices: tuple[int, int]


class PhantomSource(LabeledSource):
    """Procedural abdomens, made on the spot; `labels` maps liver 1 and lesion 2 to the recipe's."""

    kind: Literal["phantom"]
    name: str = "phantom"
    count: int = Field(ge=1)
    seed: int = 0
    labels: dict[int, int] = Field(default={1: 1, 2: 1})
    hard_fraction: Fraction = 0.5

    @property
    def targets(self) -> set[int]:
        """The recipe's labels that this source can hold."""
        return set(self.labels.values())


Source = Annotated[
    FilesSource | MsdSource | NnunetSource | TotalSegmentatorSource | BidsSource | EmptySource | PhantomSource,
    Field(discriminator="kind"),
]
