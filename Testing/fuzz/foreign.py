"""Models of other publishers, damaged or hostile: what nnU-Net, Auto3DSeg and bundles in YAML leave behind.

Each case runs one on a tiny volume and writes the results. It must end in results, or in one sentence, or go on
computing until it is stopped, with 4 GB of memory.
"""

from __future__ import annotations

import csv
import functools
import json
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from Testing.fuzz import harness, packages
from Testing.fuzz.changes import TEXTS, Chance, damaged, mutate, odd, spoiled_text
from Testing.models import auto3dseg_folders, bundle_folders, nnunet_folders

Json = dict[str, Any]
_SIDECAR: Json = {
    "id": "toy",
    "title": "Toy",
    "version": "1",
    "modality": "CT",
    "license": "CC0-1.0",
    "axcodes": "RAS",
    "targets": ["liver"],
    "names": {"1": "liver", "2": "tumor"},
    "mirror": True,
}


def run(seed: int, count: int, first: int = 0) -> harness.Report:
    """Run `count` cases; see `harness`."""
    return harness.run(__name__, seed, count, first, harness.Limits(grown=packages.MEMORY, seconds=300))


def case(seed: int, number: int, folder: Path) -> str:
    """Spoil a model, run it, and say what came of it; see `harness`."""
    chance = random.Random(f"{seed} {number}")
    sound = chance.choice(_sound(folder.parent / "sound"))
    model = folder / sound.name
    shutil.copytree(sound, model)
    if chance.random() < 0.3:
        (model / "liverseg.json").write_text(json.dumps(_SIDECAR))
    weights = next(path for path in model.rglob("*.p*t*") if path.suffix in (".pt", ".pth"))
    configurations = sorted(path for path in model.rglob("*") if path.suffix in _SPOILED)
    spoil: list[Callable[[], None]] = [
        lambda: _spoil_configuration(chance, chance.choice(configurations)),
        lambda: _spoil_configuration(chance, chance.choice(configurations)),
        lambda: _spoil_checkpoint(chance, weights),
        lambda: _spoil_checkpoint(chance, weights),
        lambda: _spoil_bytes(chance, weights),
        lambda: packages.rewrite_torch(chance, weights, chance.choice([3, 4, 5])),
        lambda: _spoil_files(chance, model),
    ]
    chance.choice(spoil)()
    return packages.outcome(_zipped(chance, model) if chance.random() < 0.2 else model, folder)


@functools.cache
def _sound(home: Path) -> list[Path]:
    """Sound models in the folder `home`, made once a process."""
    old = {key: value for key, value in nnunet_folders.plan().items() if key != "architecture"}
    plans = nnunet_folders.plans({"3d_fullres": old | nnunet_folders.OLD_KEYS})
    return [
        nnunet_folders.toy(home / "nnUNetTrainer__nnUNetPlans__3d_fullres"),
        nnunet_folders.toy(home / "nnUNetTrainer__old__3d_fullres", folds=2, plans=plans),
        auto3dseg_folders.write_model(home / "abdominal-toy-v1.0.0"),
        bundle_folders.write_bundle(home / "bundle-in-yaml"),
    ]


def _spoil_configuration(chance: Chance, path: Path) -> None:
    if chance.random() < 0.8:
        _SPOILED[path.suffix](chance, path)
        return
    text = spoiled_text(chance, path.read_bytes(), lambda text: text * chance.choice([2, 30, 3000]), TEXTS)
    path.write_bytes(text)


def _spoil_json(chance: Chance, path: Path) -> None:
    path.write_text(json.dumps(_mutated(chance, json.loads(path.read_text()))))


def _spoil_yaml(chance: Chance, path: Path) -> None:
    """Other values, or what YAML alone has: tags, anchors, merged keys, other types of what looks like text."""
    import yaml

    if chance.random() < 0.6:
        data = _mutated(chance, yaml.safe_load(path.read_text()))
        try:
            text = yaml.safe_dump(data, sort_keys=False)
        except RecursionError:  # too deep for its writer; JSON is YAML, too
            text = json.dumps(data)
        path.write_text(text)
        return
    lines = path.read_text().splitlines()
    for _ in range(chance.choice([1, 1, 3])):
        at = chance.randrange(len(lines))
        key, colon, _value = lines[at].partition(": ")
        lines[at] = f"{key}{colon}{chance.choice(_YAML)}" if colon else chance.choice(_YAML)
    path.write_text("\n".join(lines) + "\n")


def _mutated(chance: Chance, data: Any) -> Any:
    for _ in range(chance.choice([1, 1, 2, 4])):
        mutate(chance, data)
    return data


def _spoil_table(chance: Chance, path: Path) -> None:
    """Rows and cells that are other, gone, doubled or far too many."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    for _ in range(chance.choice([1, 1, 2, 4])):
        row = chance.choice(rows)
        at = chance.randrange(len(row)) if row else 0
        how = chance.randrange(6)
        if how == 0:
            rows.remove(row) if len(rows) > 1 else row.clear()
        elif how == 1:
            rows += [list(row)] * chance.choice([1, 300, 70_000])
        elif how == 2:
            del row[at:]
        elif how == 3:
            row.insert(at, str(odd(chance, 1)))
        elif row:
            row[at] = str(odd(chance, int(row[at]) if row[at].isdigit() else row[at]))
    with path.open("w", newline="", encoding="utf-8", errors="surrogatepass") as file:
        csv.writer(file, quoting=chance.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])).writerows(rows)


_YAML = (
    "!!python/object/apply:os.system [id]",
    "!!python/name:os.system",
    "!!binary aGVsbG8=",
    "!!set {a, b}",
    "&a [1, 2, 3]",
    "*a",
    "&a {<<: *a}",
    "<<: {a: 1}",
    "? [a, b]",
    "!!float .inf",
    ".nan",
    "0o17",
    "1_000_000_000_000",
    "2001-12-14t21:59:43.10-05:00",
    "{a: 1, a: 2}",
    "'",
    "|",
    "- - - - -",
    "%YAML 9.9",
    "--- x",
    "...",
    "\t",
    "$@spatial_size",
    "$__import__('os').system('id')",
)
_SPOILED: dict[str, Callable[[Chance, Path], None]] = {".json": _spoil_json, ".yaml": _spoil_yaml, ".csv": _spoil_table}


def _spoil_checkpoint(chance: Chance, path: Path) -> None:
    """Other values beside the weights, or other weights."""
    import torch

    content = torch.load(path, weights_only=False)  # our own file
    weights = next(content[key] for key in ("network_weights", "state_dict", "model") if key in content)
    how = chance.randrange(4)
    if how == 0:
        beside = {key: value for key, value in content.items() if value is not weights}
        mutate(chance, beside)
        content = {**beside, **{key: value for key, value in content.items() if value is weights}}
    elif how == 1:
        name = chance.choice(sorted(weights))
        weights[name] = chance.choice(
            [weights[name][:1], weights[name] * float("nan"), weights[name].double(), odd(chance, 1)]
        )
    elif how == 2:
        name = chance.choice(sorted(weights))
        weights[chance.choice(["x", "decoder." + name, name + ".weight"])] = weights.pop(name)
    else:
        content[str(chance.choice(TEXTS))] = chance.choice([print, Path, _Hostile(), {1, 2}, 1j])
    torch.save(content, path)


def _spoil_bytes(chance: Chance, path: Path) -> None:
    path.write_bytes(damaged(chance, path.read_bytes()))


class _Hostile:
    """Its pickle would write a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("/tmp/liverseg-was-here"),)


def _spoil_files(chance: Chance, model: Path) -> None:
    path = chance.choice(sorted(model.rglob("*")))
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    if chance.random() < 0.7:
        path.symlink_to(chance.choice(["/dev/zero", "/etc/passwd", str(path)]))


def _zipped(chance: Chance, model: Path) -> Path:
    path = model.with_suffix(".zip")
    top = chance.choice(["", f"{model.name}/", "Dataset001_Toy/" + model.name + "/"])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for source in sorted(p for p in model.rglob("*") if p.is_file() and not p.is_symlink()):
            archive.write(source, top + source.relative_to(model).as_posix())
    if chance.random() < 0.5:
        path.write_bytes(damaged(chance, path.read_bytes()))
    return path
