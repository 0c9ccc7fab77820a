"""What the formats of HDF5 files have in common."""

from pathlib import Path

from data.safe.hdf5 import open_hdf5

SUFFIXES = (".hdf5", ".h5")


def is_hdf5(path: Path) -> bool:
    """Whether a path is named like an HDF5 file."""
    return path.suffix.lower() in SUFFIXES


def read_metadata(path: Path) -> dict[str, str]:
    """The scalars of text below `metadata/`; empty for a file without any. Raises UserError for a damaged file."""
    with open_hdf5(path) as file:
        return file.texts("metadata")
