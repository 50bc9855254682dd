"""The random change that makes a copy of a picture: what the Keras of the article draws, and where it looks.

The article is of May 2017: Keras 2.0.4. Its ImageDataGenerator.random_transform draws, in this order, the
rotation, the shift of the rows, that of the columns, the shear, both zooms, and whether to mirror. That order
and the generator (NumPy's RandomState, whose numbers never change) are a contract: a copy's bytes hang on it.
"""

from dataclasses import dataclass

import numpy as np

# The article's settings. Keras 2.0.4 takes rotation_range in degrees and shear_range in radians.
ROTATION_RANGE = 10
SHIFT_RANGE = 0.2  # of the picture's height and width
SHEAR_RANGE = 0.2
ZOOM_RANGE = (0.8, 1.2)
FLIP_CHANCE = 0.5


@dataclass(frozen=True)
class Transform:
    """One random change: angles in radians, shifts in pixels, zooms as factors on the way to the source."""

    rotation: float
    row_shift: float
    column_shift: float
    shear: float
    row_zoom: float
    column_zoom: float
    mirrored: bool

    def source_of(self, height: int, width: int) -> np.ndarray:
        """Where a pixel's value comes from: (2, 3) float64, source (row, column) = it @ (row, column, 1).

        Mirroring comes after this and isn't in it. Rotation, shear and zoom are taken about the point
        (height / 2 + 0.5, width / 2 + 0.5) as in Keras 2.0.4, a pixel off the centre in both directions.
        Multiplied in its order, so that not even a rounding differs.
        """
        sine, cosine = np.sin(self.rotation), np.cos(self.rotation)
        rotation = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
        shift = np.array([[1, 0, self.row_shift], [0, 1, self.column_shift], [0, 0, 1]])
        shear = np.array([[1, -np.sin(self.shear), 0], [0, np.cos(self.shear), 0], [0, 0, 1]])
        zoom = np.diag([self.row_zoom, self.column_zoom, 1])
        row, column = height / 2 + 0.5, width / 2 + 0.5
        from_centre = np.array([[1, 0, row], [0, 1, column], [0, 0, 1]])
        to_centre = np.array([[1, 0, -row], [0, 1, -column], [0, 0, 1]])
        source: np.ndarray = from_centre @ (rotation @ shift @ shear @ zoom) @ to_centre
        return source[:2]


def draw(height: int, width: int, seed: int) -> Transform:
    """The change that a seed (0 to 2**32 - 1) stands for, for a picture of this size."""
    random = np.random.RandomState(seed)
    return Transform(
        rotation=np.pi / 180 * random.uniform(-ROTATION_RANGE, ROTATION_RANGE),
        row_shift=random.uniform(-SHIFT_RANGE, SHIFT_RANGE) * height,
        column_shift=random.uniform(-SHIFT_RANGE, SHIFT_RANGE) * width,
        shear=random.uniform(-SHEAR_RANGE, SHEAR_RANGE),
        row_zoom=random.uniform(*ZOOM_RANGE),
        column_zoom=random.uniform(*ZOOM_RANGE),
        mirrored=random.random_sample() < FLIP_CHANCE,
    )
