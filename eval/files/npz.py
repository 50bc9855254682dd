"""NumPy's files: .npz of what was learnt (arrays, format, origin as JSON), and .npy of one array."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tools.files.pointers import refuse_pointer
from tools.program import shown, written_beside


def write_npz(
    path: Path, file_format: str, provenance: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write one file, whole or not at all; the same contents give the same bytes. Raises OSError."""
    text = json.dumps(provenance, ensure_ascii=False, sort_keys=True)
    with written_beside(path) as part, part.open("wb") as file:
        np.savez(file, allow_pickle=False, format=file_format, provenance=text, **arrays)


def read_npz(path: Path, file_format: str, what: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the provenance that write_npz wrote; `what` is what a reader calls such a file.

    Every array is of finite numbers. Raises OSError, and ValueError for any other file or a damaged one.
    """
    refuse_pointer(path)
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                # as write_npz writes it; so no few bytes can unpack to more than there is memory for
                if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                    raise ValueError("it is compressed")
            file.seek(0)
            with np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            found = str(arrays.pop("format"))
            if found != file_format:
                raise ValueError(f"its format is {found}")
            provenance = json.loads(str(arrays.pop("provenance")))
        # zipfile and NumPy have a dozen types of error for a damaged file
        except Exception as error:
            said = shown(" ".join(str(error).split()), 200) or type(error).__name__
            raise ValueError(f"{path} is no {what}, or a damaged one ({said})") from error
    for name, array in arrays.items():
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise ValueError(f"{path}: {name} holds what is not a finite number")
    if not isinstance(provenance, dict) or not isinstance(provenance.get("training_set"), str):
        raise ValueError(f"{path} doesn't say what it was learnt from")
    return arrays, provenance


def read_npy(path: Path) -> np.ndarray:
    """One array of numbers. Raises OSError, and ValueError for any other file or a damaged one."""
    refuse_pointer(path)
    with path.open("rb") as file:
        try:
            array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
        except Exception as error:  # of many types, where the header is damaged
            raise ValueError(f"{path} is no array of NumPy's, or a damaged one") from error
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{path} holds no numbers")
    return array
