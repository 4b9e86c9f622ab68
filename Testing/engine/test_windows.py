"""Sliding windows and intensity steps give the numbers that MONAI's give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from monai.inferers import SliceInferer, SlidingWindowInferer
from monai.transforms import NormalizeIntensity, ScaleIntensity, ScaleIntensityRange, ScaleIntensityRangePercentiles

from LiverSegLib.engine.progress import Monitor
from LiverSegLib.engine.slabs import whole
from LiverSegLib.engine.sliding_window import importance, infer_slices, infer_windows
from LiverSegLib.models.inferer import Inferer
from LiverSegLib.models.intensity import Intensity, Normalize, ScalePercentiles, ScaleRange
from LiverSegLib.networks import build_network

QUIET = Monitor(None, None)


def small_network(dims: int, channels: int) -> torch.nn.Module:
    """A UNet whose instance norms make every window's output depend on all of that window."""
    torch.manual_seed(3)
    return build_network(
        "UNet",
        {
            "spatial_dims": dims,
            "in_channels": 1,
            "out_channels": channels,
            "channels": [4, 8],
            "strides": [2],
            "num_res_units": 1,
        },
    ).eval()


def kept_logits(logits: torch.Tensor) -> torch.Tensor:
    """What the engine keeps of MONAI's logits [C, X, Y, Z]."""
    return logits[1:] - logits[:1] if logits.shape[0] == 2 else logits


@pytest.mark.parametrize("channels", [2, 3])
@pytest.mark.parametrize("mode", ["gaussian", "constant"])
@pytest.mark.parametrize(
    ("shape", "roi", "overlap", "padding"),
    [
        ((24, 20, 18), (16, 16, 16), 0.25, "constant"),
        ((24, 20, 18), (16, 8, 12), 0.5, "constant"),
        ((33, 17, 16), (16, 16, 16), 0.0, "constant"),
        ((17, 19, 21), (8, 8, 16), 0.75, "constant"),
        ((10, 25, 7), (16, 16, 16), 0.25, "constant"),
        ((10, 25, 9), (16, 16, 16), 0.25, "replicate"),
        ((12, 25, 11), (16, 16, 16), 0.5, "reflect"),
        ((1, 25, 9), (16, 16, 16), 0.25, "replicate"),
        ((16, 16, 16), (16, 16, 16), 0.6, "constant"),
    ],
)
def test_windows_of_a_volume(
    shape: tuple[int, ...], roi: tuple[int, ...], overlap: float, padding: str, mode: str, channels: int
) -> None:
    image = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    network = small_network(3, channels)
    with torch.inference_mode():
        inferer = Inferer(roi_size=roi, overlap=overlap, gaussian=mode == "gaussian", batch_size=2, padding=padding)
        ours = whole(infer_windows(image, network, inferer, QUIET))
        reference = SlidingWindowInferer(roi, 2, overlap, mode=mode, padding_mode=padding)
        theirs = reference(image[None, None], network)[0]
    torch.testing.assert_close(ours, kept_logits(theirs), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("channels", [2, 3])
@pytest.mark.parametrize("mode", ["gaussian", "constant"])
@pytest.mark.parametrize(("roi", "overlap"), [((-1, -1), 0.25), ((16, 16), 0.25), ((8, 16), 0.5), ((32, 32), 0.0)])
def test_windows_of_slices(roi: tuple[int, ...], overlap: float, mode: str, channels: int) -> None:
    image = torch.randn((20, 24, 7), generator=torch.Generator().manual_seed(2))
    network = small_network(2, channels)
    window = tuple(n if r < 0 else r for r, n in zip(roi, image.shape, strict=False))
    with torch.inference_mode():
        inferer = Inferer(roi_size=window, overlap=overlap, gaussian=mode == "gaussian", batch_size=3)
        ours = whole(infer_slices(image, network, inferer, QUIET))
        reference = SliceInferer(2, roi_size=roi, sw_batch_size=3, overlap=overlap, mode=mode)
        theirs = reference(image[None, None], network)[0]
    torch.testing.assert_close(ours, kept_logits(theirs), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("channels", [2, 3])
def test_probabilities_are_taken_of_the_blended_logits(channels: int) -> None:
    image = torch.randn((24, 20, 18), generator=torch.Generator().manual_seed(1))
    roi, network = (16, 16, 16), small_network(3, channels)
    with torch.inference_mode():
        ours = whole(infer_windows(image, network, Inferer(roi_size=roi, overlap=0.5), QUIET, softmax=True))
        logits = SlidingWindowInferer(roi, 1, 0.5, mode="gaussian")(image[None, None], network)[0]
    torch.testing.assert_close(ours, kept_logits(logits.softmax(0)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("padding", ["reflect", "circular"])
def test_padding_wider_than_the_image_is_possible(padding: str) -> None:
    image = torch.rand((3, 20, 20))
    out = whole(infer_windows(image, small_network(3, 2), Inferer(roi_size=(16, 16, 16), padding=padding), QUIET))
    assert out.shape == (1, 3, 20, 20)
    assert out.isfinite().all()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (ScaleRange(-100, 300), ScaleIntensityRange(-100, 300, 0, 1, clip=True)),
        (ScaleRange(-57, 164, -1, 1, clip=False), ScaleIntensityRange(-57, 164, -1, 1)),
        (Normalize(), NormalizeIntensity()),
        (Normalize(nonzero=True), NormalizeIntensity(nonzero=True)),
        (Normalize(99.4, 39.4), NormalizeIntensity(torch.tensor(99.4), torch.tensor(39.4))),
        (ScalePercentiles(0, 100, -1, 1, clip=False), ScaleIntensity(-1, 1)),
        (ScalePercentiles(0.5, 99.5, clip=True), ScaleIntensityRangePercentiles(0.5, 99.5, 0, 1, clip=True)),
        (ScalePercentiles(5, 95, clip=False), ScaleIntensityRangePercentiles(5, 95, 0, 1)),
    ],
)
def test_intensity_steps(ours: Intensity, theirs: Callable[[Any], Any]) -> None:
    image = torch.randn((30, 30, 30), generator=torch.Generator().manual_seed(4)) * 300
    image[:10] = 0
    expected = torch.as_tensor(theirs(image[None].clone()))[0]
    torch.testing.assert_close(ours(image.clone()), expected, atol=2e-3, rtol=2e-3)


def test_intensity_of_an_image_without_contrast_stays_finite() -> None:
    for step in (Normalize(), Normalize(nonzero=True), ScalePercentiles(1, 99), ScalePercentiles(0, 100)):
        assert step(torch.zeros((4, 4, 4))).isfinite().all()
        assert step(torch.full((4, 4, 4), 70.0)).isfinite().all()


@pytest.mark.parametrize("shape", [(96, 96, 64), (7, 5), (33, 96, 24), (1, 8, 8)])
def test_weights_of_a_window_are_those_of_monai(shape: tuple[int, ...]) -> None:
    from monai.data.utils import compute_importance_map

    expected = compute_importance_map(shape, mode="gaussian", sigma_scale=0.125)
    assert torch.equal(importance(Inferer(roi_size=shape), torch.device("cpu")), expected)
