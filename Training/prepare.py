"""From raw data to the cases that training reads: checked, on the model's grid, split by patient.

A prepared folder holds `cases/<id>_image.npy` (int16 HU), `cases/<id>_label.npy` (uint8) and `index.json`.
A case is one slice [x, y] for 2D recipes and one volume [x, y, z] for 3D ones. The grid comes from the same
functions that inference uses.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from LiverSegLib.engine.geometry import model_grid, to_model_grid
from LiverSegLib.errors import LiverSegError
from LiverSegLib.volume import Volume
from Training.augment import FAT
from Training.recipe import (
    DicomSlicesSource,
    EmptySource,
    MsdSource,
    PhantomSource,
    Preprocess,
    Recipe,
    SlicesSource,
)

log = logging.getLogger(__name__)
Array = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]
HU_RANGE = (-1024, 3071)


class DataError(LiverSegError):
    """The training data cannot be used as it is; the sentence names the file."""


@dataclass(frozen=True)
class RawCase:
    """One image with its label before splitting; `image` in HU on the model's grid."""

    name: str
    patient: str
    image: Array
    label: Labels


@dataclass(frozen=True)
class Case:
    """A prepared case as index.json lists it."""

    id: str
    patient: str
    source: str
    split: str
    foreground: int


def prepare(recipe: Recipe, data: Path, out: Path, progress: Callable[[str, int], None] | None = None) -> list[Case]:
    """Read every source of `recipe` below `data` and write the prepared folder `out`.

    Args:
        recipe: what to read and onto which grid.
        data: the folder that the sources' paths are relative to.
        out: prepared folder; an earlier one is replaced.
        progress: called with source name and number of cases so far.

    Raises:
        DataError: a source is missing, or an image and its label do not match.
    """
    cases_folder = out / "cases"
    cases_folder.mkdir(parents=True, exist_ok=True)
    for old in cases_folder.glob("*.npy"):
        old.unlink()
    found: list[tuple[str, str, str, int]] = []
    for source in recipe.sources:
        count = 0
        for raw in _read(source, data, recipe):
            case_id = f"{source.name}_{raw.name}"
            _save(cases_folder, case_id, raw)
            found.append((case_id, f"{source.name}_{raw.patient}", source.name, int((raw.label > 0).sum())))
            count += 1
            if progress:
                progress(source.name, count)
        if not count:
            raise DataError(f"The source {source.name} of {recipe.name} holds no case; check its folder.")
    held_out = _validation_patients(found, recipe)
    cases = [
        Case(case_id, patient, source, "val" if patient in held_out else "train", size)
        for case_id, patient, source, size in found
    ]
    index = {"recipe": recipe.name, "preprocess": recipe.preprocess.model_dump(), "seed": recipe.seed,
             "cases": [asdict(case) for case in cases]}  # fmt: skip
    (out / "index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")
    return cases


def load_index(folder: Path, recipe: Recipe) -> list[Case]:
    """The cases of a prepared folder.

    Raises:
        DataError: the folder was not prepared, or for another grid.
    """
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{folder} holds no prepared data; run `python -m Training prepare` first.") from error
    if Preprocess(**index["preprocess"]) != recipe.preprocess:
        raise DataError(f"{folder} was prepared with another grid or window; run prepare again.")
    return [Case(**case) for case in index["cases"]]


def _save(folder: Path, case_id: str, raw: RawCase) -> None:
    if raw.image.shape != raw.label.shape:
        raise DataError(f"{case_id}: image {raw.image.shape} and label {raw.label.shape} differ in shape.")
    np.save(folder / f"{case_id}_image.npy", np.clip(np.round(raw.image), *HU_RANGE).astype(np.int16))
    np.save(folder / f"{case_id}_label.npy", raw.label.astype(np.uint8))


def _validation_patients(found: list[tuple[str, str, str, int]], recipe: Recipe) -> set[str]:
    """A fixed share of each source's patients, at least one of every source with several."""
    chosen: set[str] = set()
    for source in recipe.sources:
        patients = sorted({patient for _, patient, name, _ in found if name == source.name})
        rng = np.random.default_rng([recipe.seed, len(patients)])
        count = max(1, round(recipe.validation_fraction * len(patients))) if len(patients) > 2 else 0
        chosen.update(str(p) for p in rng.permutation(patients)[:count])
    return chosen


def _read(source: object, data: Path, recipe: Recipe) -> Iterator[RawCase]:
    if isinstance(source, SlicesSource):
        return _read_slices(source, data)
    if isinstance(source, DicomSlicesSource):
        return _read_dicom_slices(source, data, recipe.preprocess)
    if isinstance(source, MsdSource):
        return _read_msd(source, data, recipe)
    if isinstance(source, EmptySource):
        return _read_empty(source, data, recipe)
    assert isinstance(source, PhantomSource)
    return _read_phantoms(source, recipe)


def _pairs(images: Path, masks: Path) -> Iterator[tuple[Path, Path]]:
    if not images.is_dir():
        raise DataError(f"The folder {images} is missing; give the folder that holds it with --data.")
    for image in sorted(images.iterdir()):
        mask = masks / image.name
        if not mask.is_file():
            raise DataError(f"{image} has no mask of the same name in {masks}.")
        yield image, mask


def undo_storage(array: npt.NDArray[np.uint8], name: str) -> npt.NDArray[np.uint8]:
    """Slices as [x, y] running left and posterior, from files stored flipped or mirrored."""
    if name.startswith("flipped_"):
        return array[:, ::-1]
    if name.startswith("mirrored_"):
        return array[::-1]
    return array


def _read_slices(source: SlicesSource, data: Path) -> Iterator[RawCase]:
    from PIL import Image

    low, high = source.window
    for image_path, mask_path in _pairs(data / source.images, data / source.masks):
        with Image.open(image_path) as file:
            grey = undo_storage(np.asarray(file.convert("L")), image_path.name)
        with Image.open(mask_path) as file:
            mask = undo_storage(np.asarray(file.convert("L")), mask_path.name) > 127
        hu = low + grey.astype(np.float32) * ((high - low) / 255)
        # The window cut everything below `low` to black: it was fat, lung or air. Fat is the mildest guess.
        hu[grey <= 2] = FAT
        parts = image_path.stem.split("_")
        yield RawCase(image_path.stem, parts[1] if len(parts) > 2 else parts[0], hu, mask.astype(np.uint8))


def _read_dicom_slices(source: DicomSlicesSource, data: Path, grid: Preprocess) -> Iterator[RawCase]:
    import pydicom

    for image_path, mask_path in _pairs(data / source.images, data / source.masks):
        image, mask = pydicom.dcmread(image_path), pydicom.dcmread(mask_path)
        slope, intercept = float(image.get("RescaleSlope", 1)), float(image.get("RescaleIntercept", 0))
        hu = np.maximum(image.pixel_array * slope + intercept, HU_RANGE[0])
        rows, columns = (float(v) for v in image.PixelSpacing)
        x, y = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
        affine = np.eye(4)  # DICOM is LPS, we are RAS: x and y change sign
        affine[:3, 0], affine[:3, 1] = x * columns * [-1, -1, 1], y * rows * [-1, -1, 1]
        affine[:3, 2] = np.cross(affine[:3, 0], affine[:3, 1]) / (columns * rows)
        label = np.zeros(mask.pixel_array.shape, np.uint8)
        for theirs, ours in source.labels.items():
            label[mask.pixel_array == theirs] = ours
        image_slice, label_slice = _on_grid(hu.T[..., None], label.T[..., None], affine, grid)
        patient = image_path.stem.rpartition("_")[0]
        yield RawCase(image_path.stem, patient, image_slice[..., 0], label_slice[..., 0])


def _on_grid(
    hu: npt.NDArray[np.generic], label: Labels, affine: npt.NDArray[np.float64], grid: Preprocess
) -> tuple[Array, Labels]:
    """Image and label [i, j, k] on the model's grid; each label is resampled linearly and the largest wins."""
    volume = Volume(hu, affine)
    target = model_grid(volume, grid.axcodes, grid.pixdim)
    cpu = torch.device("cpu")
    image = to_model_grid(hu, target, cpu).numpy()
    values = [v for v in np.unique(label) if v]
    shares = [to_model_grid((label == v).astype(np.uint8), target, cpu).numpy() for v in values]
    mask = np.zeros(target.shape, np.uint8)
    if shares:
        inside = np.sum(shares, axis=0) >= 0.5
        mask[inside] = np.asarray(values, np.uint8)[np.argmax(shares, axis=0)][inside]
    return image, mask


def _cases_of(name: str, patient: str, image: Array, label: Labels, dims: int) -> Iterator[RawCase]:
    if dims == 3:
        yield RawCase(name, patient, image, label)
        return
    for k in range(image.shape[2]):
        yield RawCase(f"{name}_{k:03d}", patient, image[..., k], label[..., k])


def _read_msd(source: MsdSource, data: Path, recipe: Recipe) -> Iterator[RawCase]:
    from LiverSegLib.io import read_volume

    folder = data / source.folder
    try:
        listing = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["training"]
    except (FileNotFoundError, KeyError, json.JSONDecodeError) as error:
        raise DataError(f"{folder} holds no readable dataset.json with a training list.") from error
    for entry in listing:
        image, label = read_volume(folder / entry["image"]), read_volume(folder / entry["label"])
        if image.array.shape != label.array.shape:
            raise DataError(f"{entry['image']} and its label differ in shape.")
        if np.abs(image.affine - label.affine).max() > 0.05:
            raise DataError(f"{entry['image']} and its label lie at different places.")
        mapped = np.zeros(label.array.shape, np.uint8)
        for theirs, ours in source.labels.items():
            mapped[label.array == theirs] = ours
        pixels, mask = _on_grid(image.array, mapped, image.affine, recipe.preprocess)
        name = Path(entry["image"]).name.split(".")[0]
        yield from _cases_of(name, name, pixels, mask, recipe.spatial_dims)


def _read_empty(source: EmptySource, data: Path, recipe: Recipe) -> Iterator[RawCase]:
    from LiverSegLib.io import read_volume

    volume = read_volume(data / source.image)
    first, stop = source.slices
    if not 0 <= first < stop <= volume.array.shape[2]:
        raise DataError(
            f"{source.name}: slices {first} to {stop} are not in {source.image}, which has {volume.array.shape[2]}."
        )
    part = volume.array[:, :, first:stop]
    image, label = _on_grid(part, np.zeros(part.shape, np.uint8), volume.affine, recipe.preprocess)
    yield from _cases_of(source.name, source.name, image, label, recipe.spatial_dims)


def _read_phantoms(source: PhantomSource, recipe: Recipe) -> Iterator[RawCase]:
    from Training.phantom import make_phantom

    rng = np.random.default_rng(source.seed)
    for number in range(source.count):
        hard = rng.random(4) < source.hard_fraction * np.array([0.5, 0.5, 0.3, 0.6])
        phantom = make_phantom(
            source.seed + number, mass=bool(hard[0]), ascites=bool(hard[1]), arms=bool(hard[2]),
            coverage="trunk" if hard[3] else "abdomen",
        )  # fmt: skip
        label = np.zeros(phantom.labelmap.shape, np.uint8)
        for theirs, ours in source.labels.items():
            label[phantom.labelmap == theirs] = ours
        image, mask = _on_grid(phantom.volume.array, label, phantom.volume.affine, recipe.preprocess)
        name = f"{number:03d}"
        yield from _cases_of(name, name, image, mask, recipe.spatial_dims)
