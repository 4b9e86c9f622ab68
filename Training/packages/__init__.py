"""From a run to a model package, and from a 2D network to a 3D one."""
