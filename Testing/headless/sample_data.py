"""`SampleData`, as far as it finds a sample by name, downloads it and loads it."""

# The names are those of the real module.
# ruff: noqa: N802, N803

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer

_rules: dict[str, Callable[[str], str]] = {}


class SampleDataSource:
    """One sample; text becomes a list of one, as every list is walked through beside the others."""

    def __init__(
        self,
        *,
        sampleName: str,
        sampleDescription: str,
        uris: str,
        fileNames: str,
        nodeNames: str,
        customDownloader: Any,
        thumbnailFileName: str,
    ) -> None:
        assert Path(thumbnailFileName).is_file()
        self.sampleName, self.sampleDescription = sampleName, sampleDescription
        self.uris, self.fileNames, self.nodeNames = [uris], [fileNames], [nodeNames]
        self.customDownloader = customDownloader


class SampleDataLogic:
    """The downloads; a source's own downloader is only for the button."""

    @staticmethod
    def registerUrlRewriteRule(name: str, rewriteFunction: Callable[[str], str]) -> None:
        """Every address goes through the rules before it is asked for."""
        _rules[name] = rewriteFunction

    def downloadSamples(self, sampleName: str) -> list[Any]:
        """The nodes of a sample."""
        nodes = []
        for sources in slicer.modules.sampleDataSources.values():
            for source in sources:
                if source.sampleName == sampleName:
                    parts = zip(source.uris, source.fileNames, source.nodeNames, strict=True)
                    nodes += [self._load(self._download(uri, file), name) for uri, file, name in parts]
        return nodes

    def _download(self, uri: str, name: str) -> Path:
        for rule in _rules.values():
            uri = rule(uri)
        path = Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory()) / name
        if not path.exists():
            urllib.request.urlretrieve(uri, path)
        return path

    def _load(self, path: Path, name: str) -> Any:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        storage = slicer.vtkMRMLNRRDStorageNode()
        storage.SetFileName(str(path))
        assert storage.ReadData(node)
        return node


def downloadSample(sampleName: str) -> Any:
    """The first node of a sample."""
    return SampleDataLogic().downloadSamples(sampleName)[0]
