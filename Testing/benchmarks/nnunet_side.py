"""nnU-Net's side of a comparison: its own predictor on a folder of its own, in its own Python environment.

Run by `Testing.benchmarks.compare` as a script; it knows nothing of LiverSeg, and answers as `Testing.benchmarks.sides`
does. Half a window of overlap and no mirrored images, as ours; on the processor, where nnU-Net computes in float32.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor


def started(model: Path) -> nnUNetPredictor:
    """nnU-Net's predictor with its first fold."""
    predictor = nnUNetPredictor(
        tile_step_size=0.5,
        use_mirroring=False,
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    predictor.initialize_from_trained_model_folder(str(model), (0,))
    return predictor


def segmented(predictor: nnUNetPredictor, image: Any, properties: dict[str, Any]) -> tuple[Any, dict[str, float]]:
    """Labels [k, j, i] of an image [1, k, j, i], and seconds by stage; as `predict_single_npy_array` does it."""
    times, last = {}, time.perf_counter()
    preprocessor = predictor.configuration_manager.preprocessor_class(verbose=False)
    plans, configuration, told = predictor.plans_manager, predictor.configuration_manager, predictor.dataset_json
    data, _, properties = preprocessor.run_case_npy(image, None, dict(properties), plans, configuration, told)
    times["prepare"], last = time.perf_counter() - last, time.perf_counter()
    logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data)).cpu()
    times["network"], last = time.perf_counter() - last, time.perf_counter()
    labels = convert_predicted_logits_to_segmentation_with_correct_shape(
        logits, plans, configuration, predictor.label_manager, properties
    )
    times["restore"] = time.perf_counter() - last
    return labels, times


def main() -> None:
    """Answer each line of standard input by a run."""
    image, model, out = sys.argv[1:]
    last, predictor, data, properties = time.perf_counter(), None, None, {}
    for _ in sys.stdin:
        if predictor is None:
            predictor = started(Path(model))
            data, properties = SimpleITKIO().read_images([image])
        else:
            last = time.perf_counter()
        labels, stages = segmented(predictor, data, properties)
        seconds = time.perf_counter() - last
        np.save(out, np.asarray(labels, np.uint8).transpose(2, 1, 0))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        # Its own lines may end in the middle of one.
        print("\n" + json.dumps({"seconds": seconds, "peak": peak, "stages": stages}), flush=True)


if __name__ == "__main__":
    main()
