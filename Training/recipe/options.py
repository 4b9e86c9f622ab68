"""The parts of a recipe that say how a model is trained and run."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from LiverSegLib.errors import LiverSegError
from LiverSegLib.models.intensity import Intensity, Normalize, ScalePercentiles, ScaleRange
from LiverSegLib.models.spec import MODEL_NAME, WIDEST_MARGIN, Guide
from LiverSegLib.networks import canonical_name, check_arguments

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Range = tuple[float, float]


class Part(BaseModel):
    """A section of a recipe: unknown keys are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Preprocess(Part):
    """The network's input: axis order, grid, intensities. The exported package repeats exactly this.

    `pixdim` in mm, a value <= 0 keeps the image's voxel size. `size` in voxels is for pictures that do not tell
    theirs: the field of view is divided into that many; a value <= 0 keeps the image's.
    `normalize`: "window" maps the HU (or gray) `window` to `output`; "percentiles" maps those of each volume;
    "zscore" subtracts each volume's mean and divides by its standard deviation, both of voxels that are not 0.
    Where an image is smaller than the window of `inference`, it is padded with 0, the darkest gray of [0, 1] and the
    middle one of [-1, 1].
    `crop_foreground`: while training, leave out the air around the body. `crop_or_pad`: while training, cut or pad
    (with air) each case around its middle to these voxels of the grid; a value <= 0 leaves that axis. The package
    repeats neither: windows see a part of the image at a time wherever they lie, and cutting there would lose organs.
    """

    axcodes: str = "LPS"
    pixdim: tuple[float, float, float] = (1.5, 1.5, -1.0)
    size: tuple[int, int, int] | None = None
    normalize: Literal["window", "percentiles", "zscore"] = "window"
    window: Range = (-40.0, 240.0)
    percentiles: Range = (0.5, 99.5)
    output: Range = (0.0, 1.0)
    crop_foreground: bool = False
    crop_or_pad: tuple[int, int, int] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Preprocess:
        if self.window[0] >= self.window[1]:
            raise ValueError(f"window {self.window} must rise")
        if not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise ValueError(f"percentiles {self.percentiles} must rise within 0 to 100")
        if self.output[0] >= self.output[1]:
            raise ValueError(f"output {self.output} must rise")
        for axis in range(3):
            if self.size is not None and self.size[axis] > 0 and self.pixdim[axis] > 0:
                raise ValueError(f"axis {axis} has both a pixdim and a size; set one of them to -1")
        return self

    @property
    def intensity(self) -> Intensity:
        """The step that `normalize` chooses."""
        steps: dict[str, Intensity] = {
            "window": ScaleRange(*self.window, *self.output),
            "percentiles": ScalePercentiles(*self.percentiles, *self.output),
            "zscore": Normalize(nonzero=True),
        }
        return steps[self.normalize]

    @staticmethod
    def normalize_options(steps: tuple[Intensity, ...]) -> dict[str, Any] | None:
        """The options that choose these steps of a package; None where there are none."""
        match steps:
            case (ScaleRange() as step,):
                return {"normalize": "window", "window": [step.low, step.high], **_output_option(step)}
            case (ScalePercentiles() as step,):
                return {"normalize": "percentiles", "percentiles": [step.lower, step.upper], **_output_option(step)}
            case (Normalize(mean=None, std=None, nonzero=True),):
                return {"normalize": "zscore"}
        return None


def _output_option(step: ScaleRange | ScalePercentiles) -> dict[str, Any]:
    """What `output` has to say for a step; nothing where it is the usual range."""
    found = [step.out_low, step.out_high]
    return {} if found == [0, 1] else {"output": found}


class Network(Part):
    """A network by name with its keyword arguments.

    `pretrained`: a local file of encoder weights (ImageNet VGG16 of torchvision for VGG16UNet); never downloaded.
    `initialization`: how weights start that come from nowhere else: "default" is torch's, "kaiming" draws the kernels
    of all convolutions from He et al.'s normal distribution for ReLU (ICCV 2015) and sets their biases to 0.
    """

    name: str
    arguments: dict[str, Any] = Field(default={})
    pretrained: str | None = None
    initialization: Literal["default", "kaiming"] = "default"

    @model_validator(mode="after")
    def _known(self) -> Network:
        try:
            check_arguments(canonical_name(self.name), self.arguments)
        except LiverSegError as error:
            raise ValueError(str(error)) from error
        return self


class Split(Part):
    """Who is in train, val and test; always by patient, always the same for one seed.

    `folds` > 1 divides the patients into that many parts, of which `fold` validates (leave-one-out: as many folds
    as patients). Otherwise `train` and `val` count patients, or the fractions do. `file` is a JSON file with lists
    of patients under "train", "val" and "test" that decides instead; or `validate_on` names the patients who validate
    (`<cohort>_<patient>`) and all others train.
    """

    validation_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    test_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    train: int | None = Field(default=None, ge=1)
    val: int | None = Field(default=None, ge=0)
    folds: int | None = Field(default=None, ge=2)
    fold: int = Field(default=0, ge=0)
    file: str | None = None
    validate_on: list[str] = Field(default=[])

    @model_validator(mode="after")
    def _consistent(self) -> Split:
        if self.validate_on and (self.file is not None or self.folds is not None):
            raise ValueError("give one of validate_on, file and folds")
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"fold {self.fold} is not one of {self.folds} folds, which count from 0")
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction and test_fraction leave nothing to train on")
        return self


class Sampling(Part):
    """Where patches are drawn in a 3D case, or in 2D ones larger than the patch.

    `labels`: probability that the patch's center lies on each label, for example {0: 0.2, 1: 0.3, 2: 0.5}; a label
    that a case lacks gives its share to the others. Left empty, `foreground` of the centers lie on any label.
    """

    labels: dict[int, NotNegative] = Field(default={})
    foreground: Fraction = 0.67

    @model_validator(mode="after")
    def _consistent(self) -> Sampling:
        if self.labels and sum(self.labels.values()) <= 0:
            raise ValueError("labels need at least one probability above 0")
        return self


Axis = Literal["x", "y", "z"]


class Augment(Part):
    """Probabilities and ranges of the augmentation. The first group is for any image; the second works in HU and
    so needs `preprocess.normalize: window` and CT.

    `rotate_degrees`: the largest turn to either side; one number is about z, with half of it about x and y in 3D, and
    {x: 10, y: 10, z: 10} says each axis (one that is missing is not turned about). `scale`: of the anatomy. `crop`
    enlarges a box of `crop_size`, least and most of each side, to the whole. `elastic` warps: in 2D the points of a
    grid of 32 pixels move by a normal deviate times `warp_pixels`, least and most; in 3D each of four cells a side is
    stretched or squeezed by up to `warp_cells` of itself.
    """

    rotate_degrees: NotNegative | dict[Axis, NotNegative] = 20.0
    any_rotation: Fraction = 0.0
    scale: tuple[Positive, Positive] = (0.8, 1.25)
    shift: NotNegative = 16.0
    shear: NotNegative = 0.08
    affine: Fraction = 0.9
    elastic: Fraction = 0.2
    warp_pixels: tuple[NotNegative, NotNegative] = (1.0, 4.0)
    warp_cells: Annotated[float, Field(ge=0, lt=1)] = 0.1
    crop: Fraction = 0.0
    crop_size: tuple[Positive, Positive] = (0.6, 1.0)
    flip: dict[Axis, Fraction] = Field(default={})
    gamma: Fraction = 0.0
    brightness: Fraction = 0.0
    blur: Fraction = 0.25
    low_resolution: Fraction = 0.15
    noise: Fraction = 0.4

    contrast: Fraction = 0.5
    organ_contrast: Fraction = 0.4
    lesion: Fraction = 0.25
    mass: Fraction = 0.2
    fluid: Fraction = 0.15
    arms: Fraction = 0.1
    crop_field: Fraction = 0.1

    @model_validator(mode="after")
    def _rising(self) -> Augment:
        for name in ("scale", "warp_pixels", "crop_size"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} [{low:g}, {high:g}] must not fall")
        if self.crop_size[1] > 1:
            raise ValueError(f"crop_size {list(self.crop_size)} must not be more than the whole, which is 1")
        return self


CT_ONLY = ("contrast", "organ_contrast", "lesion", "mass", "fluid", "arms", "crop_field")


class Loss(Part):
    """What is minimized.

    `activation`: "softmax" makes the classes exclude each other; "sigmoid" asks of each class, the background too,
    whether it is there. Either way the highest one is the label of a voxel, so a package needs not know which it was.
    `cross_entropy` and `dice_ce` need softmax.
    `dice_weight` and `ce_weight` weigh the two parts of a sum. `class_weights`: one number for the background and
    one a label, for the cross-entropy part, or None. `bce_dice` is the binary cross-entropy of each label against
    the rest plus Dice. `gamma` is focal's; `alpha` and `beta` are Tversky's for false positives and negatives.
    `heads`: weight of each output of a network that has several, first the finest; None halves them one by one.
    `batch`: one Dice over the batch instead of one a sample; steadier where many patches hold no label.
    """

    kind: Literal["dice_ce", "dice", "cross_entropy", "bce_dice", "focal", "dice_focal", "tversky"] = "dice_ce"
    dice_weight: NotNegative = 1.0
    ce_weight: NotNegative = 1.0
    class_weights: list[NotNegative] | None = None
    include_background: bool = False
    squared: bool = False
    batch: bool = True
    gamma: NotNegative = 2.0
    alpha: NotNegative = 0.3
    beta: NotNegative = 0.7
    heads: list[NotNegative] | None = None
    activation: Literal["softmax", "sigmoid"] = "softmax"

    @model_validator(mode="after")
    def _trains_every_class(self) -> Loss:
        if self.activation == "softmax":
            return self
        if self.kind in ("dice_ce", "cross_entropy"):
            raise ValueError(f"loss.kind {self.kind} needs softmax; with sigmoid take bce_dice, dice or focal")
        voxels = self.kind in ("bce_dice", "focal", "dice_focal") and self.ce_weight > 0
        if not voxels and not self.include_background:
            raise ValueError("with sigmoid nothing trains the background here; set include_background: true")
        return self


class Optimization(Part):
    """How the weights are found.

    `samples_per_epoch` None: every case once. `accumulate`: batches a step. `schedule`: one_cycle (up over a tenth,
    then down), cosine, poly ((1 - t) ** `power`), exponential (times `gamma` each epoch), step (times `gamma` every
    `step_epochs` epochs), multistep (times `gamma` at each epoch of `milestones`), constant; all but
    one_cycle rise over `warmup_epochs` first. `ema_decay` 0 switches the moving average of weights off.
    `validate_every`: epochs between validations; the last epoch always has one. `early_stop`: epochs without a
    better validation Dice after which training ends. `checkpoint_every`: keep a checkpoint of every so many epochs
    besides best and last. `cache_mb`: how much of the prepared cases each machine reads ahead into its memory before
    the first step; all its processes share it. `cudnn_benchmark`: let cuDNN try which of its algorithms is the fastest
    for these shapes; last digits may then differ from run to run.
    """

    max_epochs: int = Field(ge=1)
    samples_per_epoch: int | None = Field(default=None, ge=1)
    batch_size: int = Field(ge=1)
    accumulate: int = Field(default=1, ge=1)
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: Positive = 2e-3
    weight_decay: NotNegative = 1e-4
    momentum: Fraction = 0.99
    schedule: Literal["one_cycle", "cosine", "poly", "exponential", "step", "multistep", "constant"] = "one_cycle"
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.92
    step_epochs: int = Field(default=1, ge=1)
    milestones: list[Annotated[int, Field(ge=1)]] = Field(default=[])
    power: Positive = 0.9
    warmup_epochs: int = Field(default=0, ge=0)
    ema_decay: Fraction = 0.999
    gradient_clip: Positive | None = 5.0
    validate_every: int = Field(default=1, ge=1)
    early_stop: int | None = Field(default=None, ge=1)
    checkpoint_every: int | None = Field(default=None, ge=1)
    cache_mb: NotNegative = 2048
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    cudnn_benchmark: bool = False

    @model_validator(mode="after")
    def _has_milestones(self) -> Optimization:
        if self.schedule == "multistep" and not self.milestones:
            raise ValueError("optimization.schedule multistep needs milestones, for example [30, 60]")
        return self


class GuideModel(Part):
    """The package that says where the exported one looks (`LiverSegLib.models.Guide`)."""

    model: Annotated[str, Field(pattern=MODEL_NAME)]
    margin_mm: Annotated[float, Field(ge=0, le=WIDEST_MARGIN)] = Guide.margin_mm


class Inference(Part):
    """The sliding window that validation, evaluation and the exported package use, and the package's helpers."""

    roi_size: tuple[int, ...]
    # Where it differs from training's, for example because the training slices do not tell their pixel size.
    pixdim: tuple[float, float, float] | None = None
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.25
    batch_size: int = Field(default=4, ge=1)
    guide: GuideModel | None = None
    # Packages that have a say in what the organ is.
    voters: tuple[Annotated[str, Field(pattern=MODEL_NAME)], ...] = ()
    # The package whose organ is divided among this model's labels.
    divides: Annotated[str, Field(pattern=f"^$|{MODEL_NAME}")] = ""

    @model_validator(mode="after")
    def _voters_have_a_guide(self) -> Inference:
        if self.voters and self.guide is None:
            raise ValueError("voters see the box that a guide finds; name a guide, too")
        return self


class Card(Part):
    """What the model card says of the model and what no number can tell."""

    title: str
    version: str
    license: str
    data_source: str
    intended_use: str
    limits: str
    history: str = ""
    changelog: dict[str, str] = Field(default={})
