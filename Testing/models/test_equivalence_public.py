"""The comparison with public models, with one that a server on this computer gives."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import nibabel as nib
import pytest

from LiverSegLib.phantom import make_phantom
from Testing.equivalence import public
from Testing.models import auto3dseg_folders
from Testing.models.test_installed import packed
from Testing.models.web_server import Site, serving


@pytest.mark.slow
def test_a_model_of_the_catalogue_is_fetched_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = auto3dseg_folders.write_model(tmp_path / "abdominal-toy-v1.0.0")
    content = packed(source, tmp_path / "toy.zip")
    image = tmp_path / "image.nii.gz"
    phantom = make_phantom(1, spacing=(6.0, 6.0, 8.0))
    part = phantom.volume.array[15:30, 15:30, 5:15]  # its windows of 16 voxels are many in a whole body
    nib.save(nib.Nifti1Image(part, phantom.volume.affine), image)
    catalogue = tmp_path / "catalogue.json"
    monkeypatch.setenv("LIVERSEG_CATALOGUE", str(catalogue))
    with serving(Site(files={"/toy.zip": content})) as site:
        entry = {
            "id": "toy",
            "title": "Toy",
            "family": "auto3dseg",
            "license": "CC0-1.0",
            "url": f"{site.address}/toy.zip",
        }
        entry["checksum"] = f"sha256:{hashlib.sha256(content).hexdigest()}"
        catalogue.write_text(json.dumps({"version": 1, "models": [entry]}))
        arguments = ["toy", "--images", str(image), "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out.md")]
        assert public.main(arguments) == 0
        assert public.main(arguments) == 0
    assert len(site.asked) == 1, "the file is kept"
    row = (tmp_path / "out.md").read_text().splitlines()[-1]
    assert row.startswith("| toy | image.nii.gz (0: "), row
    assert "| 1.000000 | 1.00000 |" in row


def test_a_model_that_cannot_be_fetched_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        public.main(["liver_ct_starter", "--images", str(tmp_path / "x.nii.gz")])
    assert "liver_ct_starter is no model of the catalogue that can be fetched" in capsys.readouterr().err
