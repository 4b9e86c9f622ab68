"""Small data sets for the recipes, drawn on the spot, and what makes a recipe small enough for a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from Training.data.phantoms import write_dataset

Array = npt.NDArray[Any]

# AMOS numbers of what a drawn slice shows.
SPLEEN, KIDNEY_RIGHT, KIDNEY_LEFT, LIVER, STOMACH = 1, 2, 3, 6, 7
# number: middle (right to left, front to back), half axes, all as parts of the picture, and HU
_ORGANS = {
    LIVER: ((0.33, 0.42), (0.17, 0.20), 110),
    STOMACH: ((0.66, 0.34), (0.09, 0.08), 40),
    SPLEEN: ((0.75, 0.55), (0.07, 0.10), 130),
    KIDNEY_RIGHT: ((0.36, 0.71), (0.06, 0.07), 180),
    KIDNEY_LEFT: ((0.64, 0.71), (0.06, 0.07), 180),
}
_QUICK = [
    "optimization.max_epochs=1",
    "optimization.samples_per_epoch=4",
    "optimization.batch_size=2",
    "optimization.validate_every=1",
]
# Enough samples that augmented and plain ones meet in one batch.
_SEVERAL = ["optimization.samples_per_epoch=24", "optimization.batch_size=4"]
_QUICK_3D = [
    *_QUICK,
    "preprocess.pixdim=[8, 8, 8]",
    "patch_size=[32, 32, 32]",
    "inference.roi_size=[32, 32, 32]",
    "inference.overlap=0.25",
]
_QUICK_UNET2D = [*_QUICK, "preprocess.size=[64, 64, -1]", "patch_size=[64, 64]", "split={folds: 2}"]

SMALL: dict[str, list[str]] = {
    "liver3d_monai": [*_QUICK_3D, "network.arguments.channels=[4, 8, 8, 8, 8]", "split={validation_fraction: 0.3}"],
    "liver_tumor3d": [*_QUICK_3D, "network.arguments.channels=[4, 8, 8, 8]", "split={train: 2, val: 1}"],
    "liver_tumor3d_best": [
        *_QUICK_3D,
        "network.arguments.init_filters=8",
        "network.arguments.blocks_down=[1, 1, 1]",
        "network.arguments.dsdepth=2",
        "optimization.precision=32-true",
        "split={folds: 3}",
    ],
    "liver3d_phantom": [
        *_QUICK_3D,
        "sources=[{kind: msd, name: drawn, folder: Task03_Liver, labels: {1: 1, 2: 2}}]",
        "network.arguments.blocks_down=[1, 1, 1]",
        "network.arguments.dsdepth=2",
        "split={folds: 3}",
    ],
    "liver3d_mr": [
        *_QUICK_3D,
        "sources=[{kind: files, name: mr, image: 'Task03_Liver/imagesTr/{name}.nii.gz', masks: [{path: "
        "'Task03_Liver/labelsTr/{name}.nii.gz', values: {1: 1, 2: 1}}]}]",
        "network.arguments.channels=[4, 8, 8, 8]",
        "split={folds: 3}",
    ],
    "liver2d_starter": [
        *_QUICK,
        "sources=[{kind: msd, name: drawn, folder: Task03_Liver, labels: {1: 1, 2: 1}}]",
        "preprocess.pixdim=[6, 6, -1]",
        "patch_size=[64, 64]",
        "network.arguments.channels=[4, 4, 8, 8, 8, 8]",
        "split={folds: 3}",
    ],
    "liver_tumor2d_slices": [
        *_QUICK,
        "sources=[{kind: msd, name: drawn, folder: Task03_Liver, labels: {1: 1, 2: 2}, undivided: {2: 1}}]",
        "preprocess.pixdim=[6, 6, -1]",
        "patch_size=[64, 64]",
        "network.arguments.channels=[4, 4, 8, 8, 8]",
        "optimization.precision=32-true",
        "split={folds: 3}",
    ],
    "liver_tumor3d_ct": [
        *_QUICK_3D,
        "inference.guide=null",
        "inference.voters=[]",
        "sources=[{kind: msd, name: drawn, folder: Task03_Liver, labels: {1: 1, 2: 2}}]",
        "network.arguments.channels=[4, 4, 8, 8, 8]",
        "optimization.precision=32-true",
        "split={folds: 3}",
    ],
    "liver_tumor3d_ct_large": [
        *_QUICK_3D,
        "inference.guide=null",
        "inference.voters=[]",
        "sources=[{kind: msd, name: drawn, folder: Task03_Liver, labels: {1: 1, 2: 2}}]",
        "network.arguments.init_filters=8",
        "network.arguments.blocks_down=[1, 1, 1]",
        "network.arguments.dsdepth=2",
        "optimization.precision=32-true",
        "split={folds: 3}",
    ],
    "liver_segments3d_ct": [
        *_QUICK_3D,
        "inference.divides=''",
        "labels={1: liver_segment_1, 2: liver_segment_2}",
        "sampling={labels: {0: 1, 1: 1, 2: 1}}",
        "sources=[{kind: msd, name: drawn, folder: Task03_Liver, labels: {1: 1, 2: 2}}]",
        "network.arguments.channels=[4, 4, 8, 8, 8]",
        "optimization.precision=32-true",
        "split={folds: 3}",
    ],
    "unet2d_vgg16": [*_QUICK_UNET2D, "network.arguments={decoder_channels: [16, 16, 8, 8]}"],
    "unet2d_vgg16_color": [*_QUICK_UNET2D, "network.arguments={decoder_channels: [16, 16, 8, 8]}"],
    "unet2d_bn": [*_QUICK_UNET2D, "network.arguments.channels=[4, 8, 8]"],
    "unet2d_attention": [*_QUICK_UNET2D, "network.arguments.channels=[4, 8, 8]"],
    "lung_xray2d": [
        *_QUICK,
        *_SEVERAL,
        "preprocess.size=[64, 64, -1]",
        "patch_size=[64, 64]",
        "network.arguments.channels=[4, 8, 8]",
        "split={validation_fraction: 0.25, test_fraction: 0.25}",
    ],
    "pyramid2d_multi": [
        *_QUICK,
        *_SEVERAL,
        "preprocess.pixdim=[5, 5, -1]",
        "patch_size=[64, 64]",
        "network.arguments.channels=[4, 8, 8]",
        "optimization.checkpoint_every=2",
        "split={folds: 2}",
    ],
    "liver3d_monai_original": [
        *_QUICK_3D,
        "network.arguments.channels=[4, 8, 8, 8]",
        "split={validation_fraction: 0.3}",
    ],
    "liver_tumor3d_original": [
        *_QUICK_3D,
        "preprocess.crop_or_pad=[40, 40, 24]",
        "network.arguments.channels=[4, 8, 8]",
        "split={train: 2, val: 1}",
    ],
    "pyramid2d_multi_original": [
        *_QUICK,
        *_SEVERAL,
        "preprocess.size=[64, 64, -1]",
        "patch_size=[64, 64]",
        "network.arguments.channels=[4, 8, 8]",
        "split={folds: 2}",
    ],
    "unet2d_vgg16_original": [*_QUICK_UNET2D, "network.arguments={decoder_channels: [16, 16, 8, 8]}"],
    "unet2d_bn_original": [*_QUICK_UNET2D, "network.arguments.channels=[4, 8, 8]"],
    "unet2d_attention_original": [*_QUICK_UNET2D, "network.arguments.channels=[4, 8, 8]"],
}
"""Overrides that make each recipe run in seconds on the drawn data."""


PHANTOM_BEST = [
    "sources=[{kind: phantom, count: 40, seed: 300, hard_fraction: 0.0, labels: {1: 1, 2: 2}}]",
    "split={validation_fraction: 0.1}",
    "preprocess.pixdim=[3, 3, 3]",
    "preprocess.window=[-20, 200]",
    "network.arguments.init_filters=8",
    "network.arguments.blocks_down=[1, 1, 1, 2]",
    "network.arguments.dsdepth=3",
    "patch_size=[64, 64, 48]",
    "inference.roi_size=[96, 96, 64]",
    "inference.overlap=0.25",
    "sampling.labels={0: 0.15, 1: 0.35, 2: 0.5}",
    "augment.affine=0.3",
    "augment.blur=0",
    "augment.low_resolution=0",
    "augment.contrast=0",
    "optimization.max_epochs=30",
    "optimization.samples_per_epoch=100",
    "optimization.learning_rate=0.003",
    "optimization.warmup_epochs=1",
    "optimization.ema_decay=0.99",
    "optimization.validate_every=6",
    "optimization.precision=32-true",
]
"""liver_tumor3d_best, made small enough to learn phantoms on two CPU cores in twenty minutes."""


def write_msd(folder: Path, count: int = 3, seed: int = 0) -> Path:
    """A coarse Task03_Liver of phantoms; returns the folder that --data names."""
    write_dataset(folder / "Task03_Liver", count, seed, spacing=(6.0, 6.0, 6.0), coverage="liver", lesions=3)
    return folder


def draw_slice(seed: int, size: int = 64) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
    """An abdomen of ellipses: HU and AMOS numbers, both [x, y] with x to the left and y to the back."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(*2 * [(np.arange(size) + 0.5) / size], indexing="ij")
    hu = np.full((size, size), -1000.0)
    labels = np.zeros((size, size), np.uint8)
    hu[_ellipse(x, y, (0.5, 0.52), (0.45, 0.36))] = -90
    hu[_ellipse(x, y, (0.5, 0.52), (0.41, 0.32))] = 20
    for number, (middle, half, value) in _ORGANS.items():
        moved = (middle[0] + rng.uniform(-0.02, 0.02), middle[1] + rng.uniform(-0.02, 0.02))
        inside = _ellipse(x, y, moved, (half[0] * rng.uniform(0.9, 1.1), half[1] * rng.uniform(0.9, 1.1)))
        hu[inside], labels[inside] = value, number
    return hu + rng.normal(0, 8, hu.shape), labels


def _ellipse(x: Array, y: Array, middle: tuple[float, float], half: tuple[float, float]) -> npt.NDArray[np.bool_]:
    return ((x - middle[0]) / half[0]) ** 2 + ((y - middle[1]) / half[1]) ** 2 <= 1


def write_slices2d(folder: Path, patients: int = 4, slices: int = 2) -> Path:
    """JPEG slices and masks as in `slices2d`: windowed to HU 0 to 250, stored turned and flipped or mirrored."""
    for kind in ("images", "masks"):
        (folder / "slices2d" / kind).mkdir(parents=True, exist_ok=True)
    for number in range(patients * slices):
        how = ("flipped", "mirrored")[number % 2]
        hu, labels = draw_slice(number)
        name = f"{how}_{10001 + number // slices}_{80 + number % slices}.jpg"
        gray = np.clip(hu / 250 * 255, 0, 255).astype(np.uint8)
        mask = np.where(labels == LIVER, 255, 0).astype(np.uint8)
        for kind, array in (("images", gray), ("masks", mask)):
            stored = array[:, ::-1] if how == "flipped" else array[::-1]
            Image.fromarray(np.ascontiguousarray(stored)).save(folder / "slices2d" / kind / name, quality=92)
    return folder


def write_xrays(folder: Path, count: int = 4, *, joined: bool = True, size: int = 80) -> Path:
    """Chest X-rays of ellipses with one mask of both lungs each, or with one of the left and one of the right."""
    for sub in ("xray",) if joined else ("xray", "masks/left", "masks/right"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    x, y = np.meshgrid(*2 * [(np.arange(size) + 0.5) / size], indexing="xy")
    for number in range(1, count + 1):
        rng = np.random.default_rng(number)
        gray = np.where(_ellipse(x, y, (0.5, 0.6), (0.45, 0.55)), 190.0, 20.0)
        lungs = []
        for middle in (0.31, 0.69):
            moved = (middle + rng.uniform(-0.03, 0.03), 0.5 + rng.uniform(-0.03, 0.03))
            lungs.append(_ellipse(x, y, moved, (0.13, 0.28)))
            gray[lungs[-1]] = 70
        picture = np.clip(gray + rng.normal(0, 5, gray.shape), 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / "xray" / f"{number}.jpg", quality=95)
        if joined:
            _save_mask(lungs[0] | lungs[1], folder / "xray" / f"{number}-mask.png")
        else:
            # The patient's right lung is on the left of the picture.
            _save_mask(lungs[0], folder / "masks" / "right" / f"{number}.png")
            _save_mask(lungs[1], folder / "masks" / "left" / f"{number}.png")
    return folder


def _save_mask(mask: npt.NDArray[np.bool_], path: Path) -> None:
    Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(path)


GRAY = {SPLEEN: 50, KIDNEY_RIGHT: 100, KIDNEY_LEFT: 100, LIVER: 150, STOMACH: 200}
"""Gray level of each AMOS number in JPEG labels."""


def write_dicom_slices(
    folder: Path, masks: Literal["dcm", "npy", "png", "jpg"] = "dcm", patients: int = 2, slices: int = 2
) -> Path:
    """CT slices as single DICOM files, with labels of the same name in one of four formats."""
    for kind in ("images", "masks"):
        (folder / "slices-dicom" / kind).mkdir(parents=True, exist_ok=True)
    for number in range(patients * slices):
        patient, index = f"amos_{1 + number // slices:04d}", 50 + number % slices
        hu, labels = draw_slice(100 + number)
        rows = labels.T  # rows run to the back, columns to the left
        name = f"{patient}_slice{index:04d}"
        write_dicom_slice(folder / "slices-dicom" / "images" / f"{name}.dcm", hu.T, patient, index)
        path = folder / "slices-dicom" / "masks" / f"{name}.{masks}"
        if masks == "dcm":
            write_dicom_slice(path, rows, patient, index)
        elif masks == "npy":
            np.save(path, rows)
        elif masks == "png":
            Image.fromarray(np.ascontiguousarray(rows)).save(path)
        else:
            gray = np.zeros_like(rows)
            for value, level in GRAY.items():
                gray[rows == value] = level
            Image.fromarray(gray).save(path, quality=100, subsampling=0)
    return folder


def write_dicom_slice(path: Path, rows: Array, patient: str, index: int, spacing: float = 5.0) -> None:
    """One axial CT slice [row, column] of int16 values; `spacing` in mm."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    data.PatientID, data.PatientName, data.Modality = patient, patient, "CT"
    data.StudyInstanceUID = generate_uid(entropy_srcs=[patient])
    data.SeriesInstanceUID = generate_uid(entropy_srcs=[patient, path.parent.name])
    data.InstanceNumber = index
    data.Rows, data.Columns = rows.shape
    data.PixelSpacing, data.SliceThickness = [spacing, spacing], 5
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.ImagePositionPatient = [-160, -160, 5 * index]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.RescaleIntercept, data.RescaleSlope = 0, 1
    data.PixelData = np.ascontiguousarray(rows).astype("<i2").tobytes()
    pydicom.dcmwrite(path, data, enforce_file_format=True)
