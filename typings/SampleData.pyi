"""Slicer's Sample Data module, as far as the extension offers its phantom there."""

from collections.abc import Callable
from typing import Any

class SampleDataSource:
    sampleName: str
    def __init__(
        self,
        *,
        sampleName: str,
        sampleDescription: str,
        uris: str,
        fileNames: str,
        nodeNames: str,
        customDownloader: Callable[..., object],
        thumbnailFileName: str,
    ) -> None: ...

def downloadSample(sampleName: str) -> Any: ...

class SampleDataLogic:
    @staticmethod
    def registerUrlRewriteRule(name: str, rule: Callable[[str], str]) -> None: ...
