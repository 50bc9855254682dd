"""The demo's camera and light: what turns a scene in metres into something like a photograph.

Scenes are built in metres, x to the right, y up, z towards the photographer, and drawn in linear light
(float32, BGR, 1.0 = white in full sun) with a depth buffer at twice the picture's size. `develop` then does
what a camera does: haze, exposure, colour temperature, blur, vignette, noise, 8 bits.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Rng = np.random.Generator

SUPERSAMPLING = 2
NEAREST_METRES = 0.4


def float32(values: npt.ArrayLike) -> Array:
    """The values as an array of single precision, in which all light is reckoned."""
    return np.asarray(values, np.float32)


@dataclass(frozen=True)
class Light:
    """Sun and sky of one photograph; `sun` points from the scene to the sun, colours are BGR."""

    sun: Array
    sun_colour: Array
    sky_colour: Array
    night: bool
    haze: float


def draw_light(rng: Rng) -> Light:
    """Draw a time of day and weather: clear, overcast, low sun or dusk."""
    weather = rng.choice(["clear", "overcast", "low", "dusk"], p=[0.53, 0.28, 0.16, 0.03])
    azimuth = rng.uniform(-1.9, 1.9)
    elevation = rng.uniform(0.12, 0.35) if weather == "low" else rng.uniform(0.45, 1.15)
    sun = np.array(
        [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
    )
    warm = {"clear": 0.08, "overcast": 0.0, "low": 0.32, "dusk": 0.2}[weather] * rng.uniform(0.5, 1.3)
    strength = {"clear": rng.uniform(0.7, 1.1), "overcast": rng.uniform(0.0, 0.15), "low": 0.8, "dusk": 0.05}[
        weather
    ]
    sky = {"clear": 0.38, "overcast": 0.75, "low": 0.33, "dusk": 0.22}[weather] * rng.uniform(0.85, 1.2)
    return Light(
        sun=sun.astype(np.float32),
        sun_colour=float32([1 - 1.6 * warm, 1 - 0.5 * warm, 1.0]) * np.float32(strength),
        sky_colour=float32([1.12, 1.0, 0.92] if weather != "overcast" else [1.02, 1.0, 0.98])
        * np.float32(sky),
        night=weather == "dusk",
        haze=float(rng.uniform(0.0, 0.002) if weather != "overcast" else rng.uniform(0.001, 0.005)),
    )


@lru_cache(maxsize=1)
def _noise_sheet() -> Array:
    """A (512, 512) float32 sheet of seamless fractal noise, 0..1: every texture cuts its own piece."""
    rng = np.random.default_rng(20170530)
    sheet = np.zeros((512, 512), np.float32)
    for octave, weight in zip(
        (4, 8, 16, 32, 64, 128, 256), (1, 0.8, 0.6, 0.45, 0.35, 0.28, 0.2), strict=True
    ):
        tile = np.pad(rng.standard_normal((octave, octave)).astype(np.float32), 2, mode="wrap")
        scale = 512 // octave
        sheet += (
            weight
            * cv2.resize(tile, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)[
                2 * scale : -2 * scale, 2 * scale : -2 * scale
            ]
        )
    ranks = np.empty(sheet.size, np.float32)
    ranks[np.argsort(sheet, axis=None)] = np.linspace(0, 1, sheet.size, dtype=np.float32)
    return ranks.reshape(sheet.shape)


def noise(rng: Rng, height: int, width: int, zoom: float = 1.0, stretch: float = 1.0) -> Array:
    """Fractal noise, (height, width) float32, about uniform in 0..1.

    `zoom` above 1 makes its features larger, `stretch` above 1 wider than high.
    """
    x, y = rng.uniform(0, 512, 2)
    step_x, step_y = 1 / (zoom * stretch), 1 / zoom
    matrix = np.array([[step_x, 0, x], [0, step_y, y]])
    return cv2.warpAffine(
        _noise_sheet(),
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_WRAP,
    )


class Camera:
    """A pinhole camera: `project` maps (N, 3) points in metres to (N, 2) pixels and (N,) depths in metres."""

    def __init__(
        self, position: Array, target: Array, focal: float, size: tuple[int, int], roll: float
    ) -> None:
        forward = (target - position) / np.linalg.norm(target - position)
        right = np.cross(forward, [0.0, 1.0, 0.0])
        right /= np.linalg.norm(right)
        down = np.cross(forward, right)
        c, s = np.cos(roll), np.sin(roll)
        self.position = np.asarray(position, np.float64)
        self.rotation = np.stack([c * right + s * down, c * down - s * right, forward])
        width, height = size
        self.intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
        self.size = size

    def project(self, points: Array) -> tuple[Array, Array]:
        """Pixels (N, 2) and depths (N,) of points (N, 3); a depth of 0 or less lies behind the camera."""
        seen = (np.asarray(points, np.float64) - self.position) @ self.rotation.T
        depth = seen[:, 2]
        pixels = seen @ self.intrinsics.T
        return pixels[:, :2] / np.maximum(depth, 1e-6)[:, None], depth

    def inverse_depth_plane(self, point: Array, normal: Array) -> Array:
        """Coefficients (a, b, c) with 1/depth = a x + b y + c at pixel (x, y) of the plane."""
        seen_point = self.rotation @ (point - self.position)
        seen_normal = self.rotation @ normal
        plane: Array = seen_normal @ np.linalg.inv(self.intrinsics) / (seen_normal @ seen_point)
        return plane

    def plane_homography(self, origin: Array, u: Array, v: Array) -> Array:
        """The 3x3 matrix from (s, t, 1) to pixels of origin + s u + t v."""
        axes = np.stack([u, v, origin - self.position], axis=1)
        homography: Array = self.intrinsics @ self.rotation @ axes
        return homography


class Canvas:
    """A picture being drawn: linear colour, inverse depth, and whose each pixel is (1 the subject's)."""

    def __init__(self, camera: Camera, light: Light) -> None:
        width, height = camera.size
        self.camera, self.light = camera, light
        self.colour = np.zeros((height, width, 3), np.float32)
        self.inverse_depth = np.zeros((height, width), np.float32)
        self.owner = np.zeros((height, width), np.uint8)
        self._x = np.arange(width, dtype=np.float32) + 0.5
        self._y = np.arange(height, dtype=np.float32)[:, None] + 0.5

    def clip(self, pixels: Array) -> tuple[int, int, int, int] | None:
        """The part of the picture that holds all `pixels`: x0, y0, x1, y1, or None if none of it."""
        width, height = self.camera.size
        x0, y0 = np.floor(np.clip(pixels.min(0), 0, (width, height))).astype(int)
        x1, y1 = np.ceil(np.clip(pixels.max(0), 0, (width, height))).astype(int)
        return (int(x0), int(y0), int(x1), int(y1)) if x1 > x0 and y1 > y0 else None

    def plane_depth(self, box: tuple[int, int, int, int], plane: Array) -> Array:
        """Inverse depths of a plane (see Camera.inverse_depth_plane) over a part of the picture."""
        x0, y0, x1, y1 = box
        a, b, c = plane.astype(np.float32)
        depths: Array = self._x[x0:x1] * a + (self._y[y0:y1] * b + c)
        return depths

    def put(
        self, box: tuple[int, int, int, int], colour: Array, alpha: Array, inverse_depth: Array, owner: int
    ) -> None:
        """Draw over what is farther away; alpha is (h, w) 0..1, the depth is taken over from 0.5 on."""
        x0, y0, x1, y1 = box
        part = np.s_[y0:y1, x0:x1]
        alpha = alpha * (inverse_depth > self.inverse_depth[part])
        self.colour[part] += (colour - self.colour[part]) * alpha[:, :, None]
        solid = alpha > 0.5
        self.inverse_depth[part] = np.where(solid, inverse_depth, self.inverse_depth[part])
        self.owner[part][solid] = owner


def sky(rng: Rng, canvas: Canvas) -> Array:
    """Paint the whole picture as sky, with clouds; returns the sky's mean colour, which windows reflect."""
    light, (height, width) = canvas.light, canvas.colour.shape[:2]
    zenith = float32([0.95, 0.62, 0.36]) * rng.uniform(0.6, 1.0)
    horizon = float32([1.0, 0.9, 0.8])
    cover = rng.uniform(0.0, 0.75)
    if light.sun_colour[2] < 0.2:
        zenith, cover = float32([0.85, 0.82, 0.8]), rng.uniform(0.7, 1.3)
    if light.sun_colour[0] < 0.6 and light.sun_colour[2] > 0.5:
        horizon = float32([0.62, 0.8, 1.05])
    if light.night:
        zenith, horizon, cover = float32([0.3, 0.17, 0.1]), float32([0.45, 0.35, 0.4]), cover * 0.5
    rows, columns = height // 3, width // 3
    down = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None] ** 1.3
    colour = zenith + (horizon - zenith) * down
    clouds = np.clip((noise(rng, rows, columns, rng.uniform(0.3, 1.0), 2.2) - 1 + cover) * 3, 0, 1)[
        :, :, None
    ]
    white = float32([0.98, 0.98, 1.0]) * (0.55 if light.night else 1.0)
    colour = colour + (white * (0.75 + 0.25 * clouds) - colour) * clouds
    colour *= 0.8 + 0.2 * light.sky_colour[1]
    cv2.resize(colour, (width, height), dst=canvas.colour)
    mean: Array = colour.mean((0, 1))
    return mean


GROUNDS = {
    "grass": ((0.10, 0.26, 0.17), 0.8),
    "asphalt": ((0.20, 0.20, 0.20), 0.25),
    "paving": ((0.36, 0.40, 0.43), 0.3),
    "gravel": ((0.38, 0.46, 0.52), 0.4),
    "earth": ((0.17, 0.26, 0.34), 0.6),
}


@lru_cache(maxsize=64)
def _ground_sheet(kind: str, number: int) -> Array:
    rng = np.random.default_rng([number, len(kind)])
    colour, contrast = GROUNDS[kind]
    rough = noise(rng, 256, 256, 0.7) + 0.6 * noise(rng, 256, 256, 0.15) - 0.8
    sheet = float32(colour) * rng.uniform(0.75, 1.25) * (1 + contrast * rough[:, :, None])
    if kind == "paving":
        step = int(rng.integers(8, 15))
        sheet[::step] *= 0.75
        sheet[:, ::step] *= 0.75
    return np.clip(sheet, 0.01, 1)


def ground(rng: Rng, canvas: Canvas, kind: str, road_z: float | None = None) -> None:
    """Draw the plane y = 0 up to the horizon, with a road along x at road_z if given."""
    camera, light = canvas.camera, canvas.light
    width, height = camera.size
    sheet = _ground_sheet(kind, int(rng.integers(6)))
    if road_z is not None:
        sheet, road = sheet.copy(), _ground_sheet("asphalt", int(rng.integers(6)))
        row = int((road_z + 32) * 4)
        top, bottom = max(row - 14, 0), min(row + 14, 256)
        sheet[top:bottom] = road[top:bottom]
        sheet[max(top - 6, 0) : top] = sheet[bottom : bottom + 6].mean() * float32([0.9, 1, 1.05])
        if rng.random() < 0.5:
            sheet[row : row + 1, np.arange(256) % 24 < 12] = 0.7
    metres = 0.25
    down = camera.plane_homography(
        np.array([-32.0, 0, -32.0]), np.array([metres, 0, 0]), np.array([0, 0, metres])
    )
    plane = camera.inverse_depth_plane(np.zeros(3), np.array([0, 1.0, 0]))
    depth = canvas.plane_depth((0, 0, width, height), plane)
    rows = np.nonzero((depth > 0.002).any(1))[0]
    if not len(rows):
        return
    box = (0, int(rows[0]), width, height)
    shifted = np.array([[1, 0, 0], [0, 1, -box[1]], [0, 0, 1.0]]) @ down
    flags = cv2.INTER_LINEAR
    colour = cv2.warpPerspective(
        sheet, shifted, (width, height - box[1]), flags=flags, borderMode=cv2.BORDER_WRAP
    )
    np.clip(colour, 0, 1, out=colour)
    cv2.patchNaNs(colour, 0.0)  # with the clip: a pixel exactly on the horizon is infinite or no number
    far = np.clip(depth[box[1] :] / 0.02, 0, 1)[:, :, None]
    colour = sheet.mean((0, 1)) + (colour - sheet.mean((0, 1))) * far
    colour *= light.sky_colour + light.sun_colour * max(float(light.sun[1]), 0.0)
    canvas.put(box, colour, (depth[box[1] :] > 0.002).astype(np.float32), depth[box[1] :], 0)


def ground_shadow(canvas: Canvas, prisms: list[tuple[Array, float]]) -> None:
    """Darken the ground where upright prisms, (corners (N, 3), height), throw their shadow.

    To be called when only sky and ground are drawn.
    """
    light = canvas.light
    mask = np.zeros(canvas.owner.shape, np.uint8)
    for corners, height in prisms:
        away = -light.sun * (height / max(float(light.sun[1]), 0.2))
        pixels, depth = canvas.camera.project(
            np.concatenate([corners, np.add(corners, (away[0], 0, away[2]))])
        )
        pixels = pixels[depth > NEAREST_METRES]
        if len(pixels) > 2:
            hull = cv2.convexHull(np.clip(pixels, -4000, 4000).astype(np.int32))
            cv2.fillConvexPoly(mask, hull, 255)
    rows = np.nonzero(mask.any(1))[0]
    if len(rows):
        part = slice(int(rows[0]), int(rows[-1]) + 1)
        lit = light.sky_colour + light.sun_colour * max(float(light.sun[1]), 0.0)
        soft = cv2.blur(mask[part], (5, 5))[:, :, None] * np.float32(0.9 / 255)
        canvas.colour[part] *= 1 - (1 - light.sky_colour / lit) * soft


def develop(rng: Rng, canvas: Canvas) -> Array:
    """Turn the drawn scene into the picture: (height/2, width/2, 3) uint8 BGR, with a camera's faults."""
    light, size = (
        canvas.light,
        (canvas.camera.size[0] // SUPERSAMPLING, canvas.camera.size[1] // SUPERSAMPLING),
    )
    picture: Array = cv2.resize(canvas.colour, size, interpolation=cv2.INTER_AREA)
    nearness = cv2.resize(canvas.inverse_depth, size, interpolation=cv2.INTER_AREA)
    haze = (1 - np.exp(-light.haze / np.maximum(nearness, 0.002))) * np.minimum(nearness * 100, 1)
    picture += (float32([0.8, 0.76, 0.72]) * light.sky_colour[1] * 1.3 - picture) * haze[:, :, None]
    return expose(rng, picture)


def expose(rng: Rng, linear: Array) -> Array:
    """Linear light (H, W, 3) to a uint8 picture: exposure on its mean, colour cast, blur, vignette, grain."""
    height, width = linear.shape[:2]
    meter = 0.30 / (0.5 * float(linear.mean()) + 0.15 + 0.02)
    gain = 2 ** rng.normal(0, 0.27) * (0.55 + 0.45 * meter)
    cast = np.exp(rng.normal(0, 0.035, 3)).astype(np.float32)
    picture = linear * (cast * np.float32(gain))
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    picture *= (1 - np.float32(rng.uniform(0, 0.22)) * (x * x + y * y).astype(np.float32))[:, :, None]
    picture = _blur(rng, picture)
    picture = np.clip(picture, 0, 1.4) ** np.float32(1 / rng.uniform(1.9, 2.4))
    picture = picture / (1 + 0.25 * np.maximum(picture - 0.85, 0))
    grain = rng.standard_normal(picture.shape, np.float32) * np.float32(rng.uniform(0.004, 0.03))
    return (np.clip(picture + grain, 0, 1) * 255 + 0.5).astype(np.uint8)


def _blur(rng: Rng, picture: Array) -> Array:
    sort = rng.random()
    if sort < 0.08:
        length = int(rng.integers(2, 5))
        kernel = np.zeros((5, 5), np.float32)
        cv2.line(kernel, (0, int(rng.integers(0, 5))), (length, int(rng.integers(0, 5))), 1.0)
        return cv2.filter2D(picture, -1, kernel / kernel.sum())
    if sort < 0.5:
        return cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 0.95))
    return picture


def jpeg(rng: Rng, picture: Array) -> bytes:
    """The picture as a JPEG file of a compact camera's quality."""
    quality = int(rng.integers(62, 93))
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
