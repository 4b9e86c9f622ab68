"""Model packages with damaged or hostile configurations, weights, zips and files.

Each case runs one on a tiny volume and writes the results. It must end in results, or in one sentence, or go on
computing until it is stopped, with 4 GB of memory.
"""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
import socket
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from LiverSegLib.errors import LiverSegError, SegmentationCancelled
from Testing.fuzz import harness
from Testing.fuzz.changes import damaged, mutate, odd, spoiled_text

Json = dict[str, Any]
Chance = random.Random
MEMORY = 4 << 30
"""That a case may take."""
_SECONDS = 5
"""Of processor time, after which a case is stopped."""
NETWORKS: list[tuple[str, int, Json]] = [
    ("UNet", 3, {"channels": [2, 4], "strides": [2], "num_res_units": 1}),
    ("UNet", 2, {"channels": [2, 4], "strides": [2], "num_res_units": 1}),
    ("SegResNet", 3, {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]}),
    ("DynUNet", 3, {"kernel_size": [3] * 3, "strides": [1, 2, 2], "upsample_kernel_size": [2, 2], "filters": [2] * 3}),
    ("DoubleConvUNet", 2, {"channels": [2, 4]}),
    ("PyramidUNet", 2, {"channels": [2, 4]}),
]


def run(seed: int, count: int, first: int = 0) -> harness.Report:
    """Run `count` cases; see `harness`."""
    return harness.run(__name__, seed, count, first, harness.Limits(grown=MEMORY, seconds=300))


def case(seed: int, number: int, folder: Path) -> str:
    """Spoil a package, run it, and say what came of it; see `harness`."""
    chance = random.Random(f"{seed} {number}")
    package = folder / "package"
    shutil.copytree(_sound(folder.parent / "sound")[chance.randrange(len(NETWORKS))], package)
    if chance.random() < 0.85:  # else the checksums refuse most of what follows
        (package / "checksums.sha256").unlink()
    kinds: list[Callable[[Chance, Path], Path]] = [
        _spoil_inference,
        _spoil_inference,
        _spoil_inference,
        _spoil_metadata,
        _spoil_text,
        _spoil_safetensors,
        _spoil_torch,
        _spoil_zip,
        _spoil_kind,
    ]
    path = chance.choice(kinds)(chance, package)
    return outcome(path, folder)


def outcome(path: Path, folder: Path) -> str:
    """Run the model at `path` on a tiny volume, write its results into `folder`, and say what came of it."""
    from LiverSegLib.cli.outputs import write_outputs
    from LiverSegLib.engine.segmenter import Segmenter
    from LiverSegLib.models import find_package
    from LiverSegLib.volume import Volume

    os.environ["LIVERSEG_CACHE"] = str(folder / "cache")
    _limit_memory()
    values = np.full((12, 10, 6), -80, np.int16)
    values[2:8, 3:8, 1:5] = 120
    volume = Volume(values, np.diag([-2.0, -2.0, 3.0, 1.0]), "tiny.nii", "CT")
    start = time.process_time()
    try:
        segmenter = Segmenter(find_package(path), "cpu")
        result = segmenter.segment(volume, should_stop=lambda: time.process_time() - start > _SECONDS)
    except SegmentationCancelled:
        return "stopped"
    assert result.labelmap.shape == values.shape
    assert result.model.isprintable()
    assert result.model.encode()
    for text in (segmenter.package.license, segmenter.package.data_source, segmenter.package.intended_use):
        assert text.isprintable(), text
    (folder / "out").mkdir()
    write_outputs(folder / "out", "tiny", volume, result, picture=False)
    return "segmented"


def _limit_memory() -> None:
    """What the case may take at all; asking for more fails, as on a machine of that size."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError):
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    wanted = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


@functools.cache
def _sound(home: Path) -> list[Path]:
    """Sound packages of tiny networks in the folder `home`, made once a process."""
    import torch

    from LiverSegLib.labels import labels_for
    from LiverSegLib.models import ModelSpec
    from LiverSegLib.models.inferer import Inferer
    from LiverSegLib.models.intensity import ScaleRange
    from LiverSegLib.models.package import write_package
    from LiverSegLib.networks import build_network

    found = []
    for number, (network, dims, arguments) in enumerate(NETWORKS):
        torch.manual_seed(number)
        whole = {**arguments, "spatial_dims": dims, "in_channels": 1, "out_channels": 2}
        spec = ModelSpec(
            name="Toy",
            version="1.0",
            modality="CT",
            license="CC0-1.0",
            data_source="made up",
            intended_use="tests",
            labels=labels_for({1: "liver"}),
            network=network,
            arguments=whole,
            axcodes="RAS",
            pixdim=(2.0, 2.0, 3.0),
            intensity=(ScaleRange(-100.0, 300.0),),
            inferer=Inferer(roi_size=(16, 16, 8) if dims == 3 else (-1, -1), batch_size=2),
            divisible=(4, 4, 1),
            metrics={"liver Dice": 0.9},
            changelog={"1.0": "first version"},
        )
        state = build_network(network, whole).state_dict()
        try:
            write_package(home / str(number), spec, state, card="# Toy\n", license_text="Public domain\n")
        except LiverSegError as error:  # not the outcome of a case
            raise AssertionError(f"the package of {network} is not sound") from error
        found.append(home / str(number))
    return found


# Configurations.

_STEPS: list[Json] = [
    {"_target_": "Orientationd", "axcodes": "LPS"},
    {"_target_": "Spacingd", "pixdim": [0.1, 0.1, 0.1]},
    {"_target_": "Spacingd", "pixdim": [100, 100, 100]},
    {"_target_": "ScaleIntensityd"},
    {"_target_": "Resized", "spatial_size": [2048, 2048, 2048], "mode": "bilinear"},
    {"_target_": "Resized", "spatial_size": [8, 8, -1], "mode": "bilinear"},
    {"_target_": "NormalizeIntensityd"},
    {"_target_": "ScaleIntensityRanged", "a_min": 0, "a_max": 1, "b_min": -1, "b_max": 1},
    {"_target_": "ScaleIntensityRangePercentilesd", "lower": 0, "upper": 100, "b_min": 0, "b_max": 1},
    {"_target_": "DivisiblePadd", "k": 64},
]


def _spoil_inference(chance: Chance, package: Path) -> Path:
    path = package / "configs" / "inference.json"
    data = json.loads(path.read_text())
    data.update(yes=True)
    network, steps = data["network_def"], data["preprocessing"]["transforms"]
    for _ in range(chance.choice([1, 1, 2, 4])):
        part = chance.choice(
            ["network_def", "network_def", "inferer", "steps", "steps", "postprocessing", "any", "new"]
        )
        if part == "new":
            new: Json = {**chance.choice(_STEPS), "keys": "image"}
            steps.insert(chance.randrange(len(steps) + 1), new)
        elif part == "network_def" and chance.random() < 0.4:
            _new_argument(chance, network)
        elif part == "steps":
            mutate(chance, chance.choice(steps) if steps else steps)
        else:
            mutate(chance, data if part == "any" else data.get(part, data))
    _write(path, data)
    return package


def _new_argument(chance: Chance, network: Json) -> None:
    """Another argument or network, most often one that exists."""
    from LiverSegLib.networks import NETWORKS as KNOWN

    name = chance.choice(sorted(KNOWN))
    if chance.random() < 0.2:
        network["_target_"] = name
    key = chance.choice(sorted(KNOWN.get(str(network.get("_target_")), KNOWN[name])))
    number = chance.choice([1, 2, 3, 4, 8, 16, 64, 1000, 4096])
    network[key] = chance.choice(
        [
            number,
            [number] * chance.randint(1, 8),
            [[number] * 3] * 2,
            ["group", {"num_groups": number}],
            chance.choice(["batch", "instance", "prelu", "deconv", "NDA"]),
            odd(chance, 1),
        ]
    )


def _spoil_metadata(chance: Chance, package: Path) -> Path:
    path = package / "configs" / "metadata.json"
    data = json.loads(path.read_text())
    channels = data["network_data_format"]["outputs"]["pred"]["channel_def"]
    for _ in range(chance.choice([1, 1, 2])):
        where = chance.choice([data, data, channels, data["network_data_format"], None])
        if where is None:
            data[chance.choice(["name", "version", "license", "data_source", "eval_metrics"])] = odd(chance, "x")
        else:
            mutate(chance, where)
    _write(path, data)
    return package


def _spoil_text(chance: Chance, package: Path) -> Path:
    """Damage to the bytes of a configuration."""
    path = package / chance.choice(["configs/inference.json", "configs/metadata.json", "LICENSE"])
    pieces = [b"\x1b[31m", b"\xff", b"\0", b"NaN", b"9" * 5000, b"\\ud800"]
    deep = lambda text: b'{"a":' * chance.choice([10, 2000, 100_000]) + text  # noqa: E731
    path.write_bytes(spoiled_text(chance, path.read_bytes(), deep, pieces))
    return package


def _write(path: Path, data: Json) -> None:
    path.write_text(json.dumps(data))


# Weights.


def _spoil_safetensors(chance: Chance, package: Path) -> Path:
    path = package / "models" / "model.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header, rest = json.loads(data[8 : 8 + length]), data[8 + length :]
    how = chance.randrange(5)
    if how == 0:
        data = damaged(chance, data)
    elif how == 1:
        data = data[: chance.randrange(len(data))]
    elif how == 2:
        empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
        many = {f"t{n}": empty for n in range(chance.choice([9, 90_000]))}
        data = _safetensors({**many, **header}, rest)
    elif how == 3:
        mutate(chance, header)
        data = _safetensors(header, rest)
    else:
        mutate(chance, chance.choice([v for k, v in header.items() if k != "__metadata__"]))
        data = _safetensors(header, rest)
    path.write_bytes(data)
    return package


def _safetensors(header: Json, rest: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + rest


_FOUR_BILLION = b"\x8a\x05\x00\x28\x6b\xee\x00\x85R."
_BOMBS = [
    b"\x80\x02cbuiltins\nbytearray\n" + _FOUR_BILLION,
    b"\x80\x02ctorch\nTensor\n" + _FOUR_BILLION,
    b"\x80\x02ctorch.storage\nUntypedStorage\n" + _FOUR_BILLION,
    b"\x80\x05\x96\x00\x00\x00\xff\x00\x00\x00\x00.",
    b"\x80\x02}r\xff\xff\xff\x7f.",
    b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R.",
    b"\x80\x02" + b")\x85" * 50_000 + b"K\x01s.",
    b"\x80\x02]" + b"q\x00(h\x00h\x00h\x00l" * 40 + b".",
    b"(" * 100_000 + b".",
]


def _spoil_torch(chance: Chance, package: Path) -> Path:
    import torch

    (package / "models" / "model.safetensors").unlink()
    path = package / "models" / "model.pt"
    how = chance.randrange(6)
    if how == 0:
        path.write_bytes(damaged(chance, path.read_bytes()))
    elif how == 1:
        state = torch.load(path, weights_only=True)
        kind = chance.choice(["half", "nested", "old", "sparse", "parameter", "extra"])
        if kind in ("half", "sparse"):
            name = chance.choice(sorted(state))
            state[name] = state[name].half() if kind == "half" else state[name].to_sparse()
        state = {"nested": {"epoch": 3, "state_dict": state}, "extra": {**state, "x": 1}}.get(kind, state)
        if kind == "parameter":
            state = {k: torch.nn.Parameter(v) if v.is_floating_point() else v for k, v in state.items()}
        torch.save(state, path, _use_new_zipfile_serialization=kind != "old")
        if kind == "old" and chance.random() < 0.6:
            path.write_bytes(damaged(chance, path.read_bytes()))
    elif how == 2:
        path.write_bytes(chance.choice(_BOMBS))
    else:
        rewrite_torch(chance, path, how)
    return package


def rewrite_torch(chance: Chance, path: Path, how: int) -> None:
    """The zip of a .pt file with another pickle, other records or compression."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in records if name.endswith("data.pkl"))
    if how == 3:
        records[name] = chance.choice(_BOMBS)
    elif how == 4:
        records[name] = damaged(chance, records[name])
    else:
        other = chance.choice(sorted(records))
        records[other] = chance.choice([b"", records[other] * 2, records[other][:-1], bytes(50_000_000)])
    method = chance.choice([zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in records.items():
            archive.writestr(name, content)


# Zips and kinds of files.


_MEMBERS = [
    "../x",
    "/x",
    "C:x",
    "a\\..\\..\\x",
    "configs",
    "configs/inference.json",
    "x" * 300,
    "a/" * 100 + "x",
    "\x07",
    "models/link",
    "CON",
    "LICENSE/x",
]
_FILES = [
    "configs/inference.json",
    "configs/metadata.json",
    "LICENSE",
    "checksums.sha256",
    "models/model.safetensors",
    "models/model.pt",
    "configs",
    "models",
    ".",
]


def _spoil_zip(chance: Chance, package: Path) -> Path:
    path = package.parent / "package.zip"
    top = chance.choice(["", "toy/", "a/b/", "\x1b[31m/", "é/"])
    method = chance.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
    with zipfile.ZipFile(path, "w", method) as archive:
        for source in sorted(p for p in package.rglob("*") if p.is_file()):
            archive.write(source, top + source.relative_to(package).as_posix())
        for _ in range(chance.choice([0, 1, 1, 3])):
            info = zipfile.ZipInfo(chance.choice(_MEMBERS))
            info.external_attr = chance.choice([0, 0o120777, 0o020666, 0o010666, 0o100644]) << 16
            archive.writestr(info, chance.choice([b"", b"/etc/passwd", bytes(3_000_000)]))
    if chance.random() < 0.6:
        path.write_bytes(damaged(chance, path.read_bytes()))
    return path


def _spoil_kind(chance: Chance, package: Path) -> Path:
    """Something else in the place of a file or of the package."""
    path = package / chance.choice(_FILES)
    if path == package or path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    kind = chance.choice(["fifo", "zero", "link", "loop", "folder", "socket", "nothing", "proc", "empty"])
    if kind == "fifo":
        os.mkfifo(path)
    elif kind in ("zero", "link", "loop", "proc"):
        target = {"zero": "/dev/zero", "link": "/etc/passwd", "loop": str(path), "proc": "/proc/self/environ"}[kind]
        path.symlink_to(target)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(str(path))
    elif kind == "empty":
        path.write_bytes(b"")
    return package
