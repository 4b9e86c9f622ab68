"""The logic of Slicer's PyTorch extension, as far as the installer uses it."""

class PyTorchUtilsLogic:
    def installTorch(self, *, askConfirmation: bool = ..., torchVersionRequirement: str | None = ...) -> object: ...
