"""Handwritten digits of 8 x 8 pixels, which scikit-learn brings along (Alpaydin and Kaynak, 1998)."""

from importlib.util import find_spec
from pathlib import Path

from pipeline.data.data_set import DataError, DataSet, Part
from pipeline.design.design_point import ImageSpec

_SIDE = 8  # pixels
_WHITE = 16  # the largest value of a pixel


def _read(_: Path, image: ImageSpec) -> dict[str, Part]:
    """What `sklearn.datasets.load_digits` reads, from its file: importing that function takes a second."""
    import numpy as np

    package = find_spec("sklearn")
    assert package is not None, "a dependency"
    assert package.origin is not None
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    try:
        rows = np.loadtxt(path, delimiter=",", dtype=np.float32)  # pixels row by row, then the digit
    except OSError as error:
        raise DataError(f"{path}: {error}; install scikit-learn again") from error
    return {"all": (rows[:, :-1].reshape(-1, 1, _SIDE, _SIDE) / _WHITE, rows[:, -1].astype(np.int64))}


DIGITS = DataSet(
    about="1,797 digits 8 x 8, come with scikit-learn; nothing to fetch",
    image=ImageSpec(channels=1, height=_SIDE, width=_SIDE, classes=10),
    read=_read,
    folder=None,
)
