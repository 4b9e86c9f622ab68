"""`make demo`: a phantom CT through the command line, scored against its own truth."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np

from LiverSegLib.phantom import make_phantom

SEED = 20260
"""Far from the seeds of the starter's training phantoms (5000 and on)."""


def main() -> None:
    """Make the phantom, run `liverseg segment` on it, print the Dice of the written label map."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo-output"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    print("Making a phantom CT")
    phantom = make_phantom(SEED, phase="portal", lesions=2, spacing=(1.4, 1.4, 2.5), coverage="abdomen")
    image = out / "phantom_ct.nii.gz"
    nib.save(nib.Nifti1Image(phantom.volume.array, phantom.volume.affine), image)
    command = [sys.executable, "-m", "LiverSegLib.cli", "segment", str(image), "--out", str(out)]
    try:
        code = subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:  # the command has said so
        code = 130
    if code:
        sys.exit(code)
    found = np.asarray(nib.load(out / "phantom_ct_labels.nii.gz").dataobj) > 0
    truth = phantom.labelmap > 0
    dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    print(f"Liver Dice against the phantom's truth: {dice:.3f}")


if __name__ == "__main__":
    main()
