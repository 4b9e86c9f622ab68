"""Models of nnU-Net v2 as they come: what is read of plans, labels and checkpoints, and what of it is refused."""

from __future__ import annotations

import json
import shutil
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from LiverSegLib.engine.one_model import OneModel
from LiverSegLib.engine.progress import Monitor
from LiverSegLib.errors import ModelError
from LiverSegLib.models import ModelPackage, read_description, read_package
from LiverSegLib.models.intensity import Normalize, ScalePercentiles, ScaleRange
from LiverSegLib.models.nnunet_checkpoint import keep_safetensors
from LiverSegLib.models.package import write_package
from LiverSegLib.models.sidecar import Sidecar, write_sidecar
from LiverSegLib.models.weights import loaded_network
from LiverSegLib.volume import Volume
from Testing.models import nnunet_folders as nnunet

QUIET = Monitor(None, None)


@pytest.fixture(scope="module")
def weights() -> dict[str, Any]:
    """A checkpoint of the toy network."""
    return nnunet.checkpoint(nnunet.toy_arguments())


def read(folder: Path, weights: dict[str, Any], plan: dict[str, Any] | None = None, **others: Any) -> ModelPackage:
    """The package of a configuration; `others` are changes of plans.json."""
    described = others.pop("dataset", nnunet.dataset())
    configurations = {weights["init_args"]["configuration"]: plan or nnunet.plan()}
    return read_package(nnunet.write(folder, nnunet.plans(configurations, **others), described, {"fold_0": weights}))


def refusal(folder: Path, weights: dict[str, Any], plan: dict[str, Any] | None = None, **others: Any) -> str:
    with pytest.raises(ModelError) as caught:
        read(folder, weights, plan, **others)
    assert str(caught.value).endswith(".")
    return str(caught.value)


def test_a_model_is_read_whole(tmp_path: Path, weights: dict[str, Any]) -> None:
    found = read(tmp_path, weights)
    assert (found.name, found.modality) == ("Dataset777_Toy", "CT")
    assert [(label.value, label.name) for label in found.labels] == [(1, "liver"), (2, "tumor")]
    assert found.axcodes == "kji"
    assert found.pixdim == (3.0, 2.0, 2.0)
    assert found.intensity == (ScaleRange(-60.0, 200.0, -3.5, 3.0),)
    assert found.inferer.roi_size == (16, 16, 16)
    assert (found.inferer.overlap, found.inferer.evenly, found.inferer.mirror) == (0.5, True, ())
    assert found.resampling.cubic
    assert found.resampling.separate_above == 3.0
    assert found.crop is not None
    assert found.crop.nonzero
    assert found.weights == ("fold_0/checkpoint_final.pth",)
    assert read_description(tmp_path).labels == found.labels


def test_the_forms_of_plans_say_the_same(tmp_path: Path, weights: dict[str, Any]) -> None:
    new = read(tmp_path / "new", weights)
    old_plan = {key: value for key, value in nnunet.plan().items() if key != "architecture"} | nnunet.OLD_KEYS
    plans = nnunet.plans({"3d_fullres": old_plan})
    plans["foreground_intensity_properties_by_modality"] = plans.pop("foreground_intensity_properties_per_channel")
    described = nnunet.dataset() | {"modality": {"0": "CT"}}
    del described["channel_names"]
    old = read_package(nnunet.write(tmp_path / "old", plans, described, {"fold_0": weights}))
    assert (old.network, old.arguments["strides"], old.intensity) == (
        new.network,
        new.arguments["strides"],
        new.intensity,
    )
    loaded_network(old)


def test_a_configuration_of_any_name_inherits(tmp_path: Path) -> None:
    told = nnunet.checkpoint(nnunet.toy_arguments(), init_args={"configuration": "3d_fullres_high"})
    plans = nnunet.plans(
        {
            "3d_fullres": nnunet.plan(),
            "between": {"inherits_from": "3d_fullres", "patch_size": [16, 24, 16]},
            "3d_fullres_high": {"inherits_from": "between", "spacing": [1.0, 0.75, 0.75]},
        }
    )
    found = read_package(nnunet.write(tmp_path, plans, nnunet.dataset(), {"fold_0": told}))
    assert (found.pixdim, found.inferer.roi_size) == ((1.0, 0.75, 0.75), (16, 24, 16))


@pytest.mark.parametrize(
    ("transpose", "axcodes", "dims", "wanted"),
    [
        ([0, 1, 2], "", 3, "kji"),
        ([2, 0, 1], "", 3, "ikj"),
        ([0, 1, 2], "RAS", 3, "SAR"),
        ([1, 0, 2], "LPS", 3, "PSL"),
        ([0, 1, 2], "", 2, "jik"),
        ([2, 0, 1], "RAS", 2, "SAR"),
    ],
)
def test_axes_are_those_of_the_plans(
    tmp_path: Path, weights: dict[str, Any], transpose: list[int], axcodes: str, dims: int, wanted: str
) -> None:
    write_sidecar(tmp_path, Sidecar(axcodes=axcodes))
    told = weights | {"inference_allowed_mirroring_axes": (0, 1)}
    found = read(tmp_path, told, nnunet.plan(dims), transpose_forward=transpose)
    assert found.axcodes == wanted
    assert found.spatial_dims == dims
    assert found.pixdim == ((3.0, 2.0, 2.0) if dims == 3 else (2.0, 2.0, -1.0))


def test_a_reader_that_turns_images_says_whereto(tmp_path: Path, weights: dict[str, Any]) -> None:
    assert read(tmp_path, weights, image_reader_writer="NibabelIOWithReorient").axcodes == "SAR"


@pytest.mark.parametrize(
    ("scheme", "masked", "steps"),
    [
        ("ZScoreNormalization", False, (Normalize(),)),
        ("ZScoreNormalization", True, (Normalize(nonzero=True, filled=True),)),
        ("RescaleTo01Normalization", False, (ScalePercentiles(0, 100, 0, 1, clip=False),)),
        ("RGBTo01Normalization", False, (ScaleRange(0, 255, 0, 1, clip=False),)),
        ("NoNormalization", False, ()),
    ],
)
def test_normalizations(tmp_path: Path, weights: dict[str, Any], scheme: str, masked: bool, steps: Any) -> None:
    plan = nnunet.plan(normalization_schemes=[scheme], use_mask_for_norm=[masked])
    assert read(tmp_path, weights, plan).intensity == steps


def test_holes_belong_to_what_encloses_them() -> None:
    x = torch.zeros(9, 9, 9)
    x[2:7, 2:7, 2:7] = torch.arange(125.0).view(5, 5, 5) + 1
    x[4, 4, 4] = 0
    inside = torch.zeros(9, 9, 9, dtype=torch.bool)
    inside[2:7, 2:7, 2:7] = True
    values = x[inside]
    wanted = torch.where(inside, (x - values.mean()) / values.std(unbiased=False), x)
    torch.testing.assert_close(Normalize(nonzero=True, filled=True)(x.clone()), wanted)


def test_regions_and_the_ignored_label(tmp_path: Path) -> None:
    labels = {"background": 0, "liver": [1, 2], "tumor": [2], "ignore": 3}
    told = nnunet.checkpoint(nnunet.toy_arguments(2))
    found = read(tmp_path, told, dataset=nnunet.dataset(labels, regions_class_order=[1, 2]))
    assert found.regions == (1, 2)
    assert found.channels == 2
    assert [label.name for label in found.labels] == ["liver", "tumor"]
    loaded_network(found)
    plain = nnunet.dataset({"background": 0, "liver": 1, "tumor": [2], "ignore": 3})
    assert read(tmp_path / "plain", nnunet.checkpoint(nnunet.toy_arguments()), dataset=plain).regions == ()


def test_what_we_know_of_a_model_stands_beside_it(tmp_path: Path, weights: dict[str, Any]) -> None:
    known = Sidecar(
        title="Vessels", version="2", modality="MR", license="Apache-2.0", names={1: "portal vein"}, mirror=True
    )
    write_sidecar(tmp_path, known)
    found = read(tmp_path, weights)
    assert (found.title, found.modality, found.license) == ("Vessels 2", "MR", "Apache-2.0")
    assert [label.name for label in found.labels] == ["portal vein", "tumor"]
    assert found.inferer.mirror == (0, 1, 2)


def test_it_is_not_written_as_a_bundle_that_would_do_something_else(tmp_path: Path, weights: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="share its own folder"):
        write_package(tmp_path / "bundle", read(tmp_path / "model", weights), {}, card="", license_text="")


def test_the_mean_of_all_folds_but_that_of_all(tmp_path: Path) -> None:
    folder = nnunet.toy(tmp_path / "model", folds=3)
    shutil.copytree(folder / "fold_0", folder / "fold_all")
    found = read_package(folder)
    assert found.weights == tuple(f"fold_{n}/checkpoint_final.pth" for n in range(3))
    x = torch.randn(1, 1, 16, 16, 16)
    singles = [ModelPackage(**{**vars(found), "weights": (name,)}) for name in found.weights]
    with torch.inference_mode():
        wanted = torch.stack([loaded_network(one).eval()(x) for one in singles]).mean(0)
        torch.testing.assert_close(loaded_network(found).eval()(x), wanted)
    for n in range(3):
        shutil.rmtree(folder / f"fold_{n}")
    assert read_package(folder).weights == ("fold_all/checkpoint_final.pth",)


def test_safetensors_say_the_same_and_the_checkpoints_are_gone(tmp_path: Path) -> None:
    folder = nnunet.toy(tmp_path / "model", folds=2)
    write_sidecar(folder, Sidecar(mirror=True))
    before = read_package(folder)
    network = loaded_network(before).state_dict()
    size = (folder / "fold_0/checkpoint_final.pth").stat().st_size
    keep_safetensors(folder)
    after = read_package(folder)
    assert after.weights == tuple(f"fold_{n}/checkpoint_final.safetensors" for n in range(2))
    assert {**vars(after), "weights": ()} == {**vars(before), "weights": ()}
    for name, tensor in loaded_network(after).state_dict().items():
        torch.testing.assert_close(tensor, network[name], rtol=0, atol=0)
    assert not list(folder.rglob("*.pth"))
    assert (folder / "fold_0/checkpoint_final.safetensors").stat().st_size < size
    keep_safetensors(folder)  # nothing is left to do


def test_a_zip_a_fold_and_the_folder_above_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVERSEG_CACHE", str(tmp_path / "cache"))
    name = "nnUNetTrainer__nnUNetPlans__3d_fullres"
    folder = nnunet.toy(tmp_path / "Dataset777_Toy" / name)
    wanted = read_package(folder)
    assert read_package(folder.parent).path == folder
    assert read_package(folder / "fold_0").path == folder
    for place in (Path("Dataset777_Toy") / name, Path(name), Path()):
        packed = tmp_path / f"{len(place.parts)}.zip"
        with zipfile.ZipFile(packed, "w") as archive:
            for path in folder.rglob("*"):
                archive.write(path, str(place / path.relative_to(folder)))
        found = read_package(packed)
        assert found.labels == wanted.labels
        loaded_network(found)
    nnunet.toy(folder.parent / "nnUNetTrainer__nnUNetPlans__2d")
    with pytest.raises(ModelError, match=r"holds 2 models \(.*\); give the folder of one\."):
        read_package(folder.parent)


@pytest.mark.usefixtures("float32")
def test_slices_are_segmented_one_by_one(tmp_path: Path) -> None:
    arguments = nnunet.toy_arguments() | {"spatial_dims": 2, "kernel_sizes": [3] * 3, "strides": [1, 2, 2]}
    told = nnunet.checkpoint(arguments, inference_allowed_mirroring_axes=(0, 1))
    package = read(tmp_path, told, nnunet.plan(2))
    volume = Volume(np.random.default_rng(0).normal(60, 60, (17, 22, 5)), np.diag([2.0, 2.0, 9.0, 1.0]), "slices", "CT")
    model = OneModel(package, "cpu")
    whole = model.draw(volume, QUIET)
    assert len(np.unique(whole)) > 1
    single = model.draw(Volume(volume.array[:, :, 2:3], volume.affine, "one", "CT"), QUIET)
    np.testing.assert_array_equal(single[:, :, 0], whole[:, :, 2])


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"plan": nnunet.plan(previous_stage="3d_lowres")}, "is the second stage of a cascade"),
    ({"plan": nnunet.plan(preprocessor_name="MyPreprocessor")}, "preprocessor_name 'MyPreprocessor' is not supported"),
    ({"plan": nnunet.plan(network="some.where.Primus")}, "the network 'some.where.Primus' is not supported"),
    ({"plan": nnunet.plan(network="evil.PlainConvUNet")}, "the network 'evil.PlainConvUNet' is not supported"),
    ({"plan": nnunet.plan(arch_kwargs={"norm_op": "os.system"})}, "norm_op 'os.system' is not supported"),
    ({"plan": nnunet.plan(arch_kwargs={"conv_op": "os.system"})}, "conv_op 'os.system' is not supported"),
    ({"plan": nnunet.plan(arch_kwargs={"pool": "max"})}, "pool 'max' of the network PlainConvUNet is not supported"),
    ({"plan": nnunet.plan(arch_kwargs={"n_stages": 9})}, "is not a list of 9"),
    ({"plan": nnunet.plan(resampling_fn_data="mine")}, "resampling_fn_data 'mine' is not supported"),
    ({"plan": nnunet.plan(resampling_fn_data_kwargs={"order": 5})}, "resampling_fn_data_kwargs"),
    ({"plan": nnunet.plan(resampling_fn_probabilities_kwargs={"force_separate_z": True})}, "another way back"),
    ({"plan": nnunet.plan(normalization_schemes=["Mine"])}, "the normalization 'Mine' is not supported"),
    ({"plan": nnunet.plan(normalization_schemes=["CTNormalization"] * 2)}, "is not a list of 1"),
    ({"plan": nnunet.plan(patch_size=[0, 16, 16])}, "patch_size 0 is impossible"),
    ({"plan": nnunet.plan(patch_size=[1024] * 3)}, "has too many voxels"),
    ({"plan": nnunet.plan(patch_size="large")}, "patch_size 'large' is not a list"),
    ({"plan": nnunet.plan(spacing=[0, 1, 1])}, "spacing 0 is impossible"),
    ({"plan": nnunet.plan(inherits_from="3d_fullres")}, "inherits from itself"),
    ({"plan": nnunet.plan(inherits_from="nowhere")}, "has no configuration 'nowhere'"),
    ({"transpose_forward": [0, 0, 1]}, "is no order of three axes"),
    ({"image_reader_writer": "Tiff3DIO"}, "image_reader_writer 'Tiff3DIO' is not supported"),
    ({"dataset": nnunet.dataset({"liver": 0})}, "it has no labels but the background"),
    ({"foreground_intensity_properties_per_channel": {}}, "cannot be used: it lacks"),
    ({"dataset": nnunet.dataset(channel_names={"0": "CT", "1": "PET"})}, "is not a list of 2"),
    ({"dataset": nnunet.dataset(channel_names={"0": "CT", "2": "PET"})}, "are not numbered 0, 1, 2"),
    ({"dataset": nnunet.dataset({"background": 0, "liver": 2})}, "are not numbered 0, 1, 2"),
    ({"dataset": nnunet.dataset({"background": 0, "a": [1, 2], "b": 2})}, "it lacks 'regions_class_order'"),
    ({"dataset": nnunet.dataset({"background": 0, "=cmd": 1})}, "which is no plain name"),
    ({"dataset": nnunet.dataset({"background": 0, "tumor": 1, "lesion": 2})}, "two of its labels mean tumor"),
    ({"dataset": {"labels": 7}}, "dataset.json cannot be used"),
]


@pytest.mark.parametrize(("given", "words"), REFUSED, ids=[words[:30] for _, words in REFUSED])
def test_what_is_not_supported_is_refused_by_name(
    tmp_path: Path, weights: dict[str, Any], given: dict[str, Any], words: str
) -> None:
    assert words in refusal(tmp_path, weights, **given)


@pytest.mark.parametrize("trainer", ["nnUNetTrainerBN", "nnUNet_Primus_M_Trainer", "STUNetTrainer_base_ft"])
def test_trainers_with_networks_of_their_own_are_refused(tmp_path: Path, weights: dict[str, Any], trainer: str) -> None:
    assert f"was trained by {trainer}, which" in refusal(tmp_path, weights | {"trainer_name": trainer})


@pytest.mark.parametrize("trainer", ["nnUNetTrainerNoMirroring", "nnUNetTrainer_DASegOrd0", "nnUNetTrainer_4000epochs"])
def test_trainers_that_only_train_otherwise_are_fine(tmp_path: Path, weights: dict[str, Any], trainer: str) -> None:
    loaded_network(read(tmp_path, weights | {"trainer_name": trainer}))


def test_a_network_that_is_not_that_of_the_plans_is_refused(tmp_path: Path, weights: dict[str, Any]) -> None:
    package = read(tmp_path, weights, nnunet.plan(arch_kwargs={"features_per_stage": [4, 8, 16]}))
    with pytest.raises(ModelError, match="has another shape for"):
        loaded_network(package)


NONSENSE: list[Any] = [None, -1, "x", [], {}, [None] * 3, 1e300, [[[]]]]


def test_plans_of_nonsense(tmp_path: Path, weights: dict[str, Any]) -> None:
    folder = nnunet.write(tmp_path, nnunet.plans(), nnunet.dataset(), {"fold_0": weights})
    keys = [*nnunet.plan(), *nnunet.plan()["architecture"]["arch_kwargs"]]
    for key in keys:
        for nonsense in NONSENSE:
            plan = nnunet.plan()
            (plan if key in plan else plan["architecture"]["arch_kwargs"])[key] = nonsense
            (folder / "plans.json").write_text(json.dumps(nnunet.plans({"3d_fullres": plan})))
            with suppress(ModelError):  # another exception would be a defect
                read_package(folder)
