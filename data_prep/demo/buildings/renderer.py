"""A building drawn onto a photograph's canvas: placed, lit by sun and sky, hidden by what stands nearer."""

from dataclasses import dataclass

import cv2
import numpy as np

from data_prep.demo.buildings.plan import Building, Face, Facet
from data_prep.demo.buildings.textures import Texture
from data_prep.demo.photo import NEAREST_METRES, Array, Canvas, float32

EDGE_ON = 1e-3  # metres off a face's plane below which nothing of it is seen


@dataclass(frozen=True)
class Placement:
    """Where a building stands (x, z) and how it is turned about the vertical, in radians."""

    x: float = 0.0
    z: float = 0.0
    turn: float = 0.0

    def place(self, vectors: Array, *, shift: bool = True) -> Array:
        """Turn, and with `shift` move, (..., 3) vectors."""
        c, s = np.cos(self.turn), np.sin(self.turn)
        turned: Array = vectors @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
        return np.add(turned, (self.x, 0, self.z)) if shift else turned


def draw_on(canvas: Canvas, building: Building, where: Placement, sky_colour: Array, owner: int) -> None:
    """Photograph the building onto the canvas, marking its pixels as `owner`'s."""
    if building.faces:
        _draw_faces(canvas, building.faces, where, sky_colour, owner)
    if building.facets:
        _draw_facets(canvas, building.facets, where, owner)


def _draw_faces(canvas: Canvas, faces: list[Face], where: Placement, sky_colour: Array, owner: int) -> None:
    """Draw those that face the camera and lie in the picture; what can be found out for all at once is."""
    camera = canvas.camera
    origins = where.place(np.array([face.origin for face in faces]))
    us, vs = (where.place(np.array([getattr(face, side) for face in faces]), shift=False) for side in "uv")
    normals = np.cross(vs, us)
    normals /= np.linalg.norm(normals, axis=1)[:, None]
    facing = ((camera.position - origins) * normals).sum(axis=1) > EDGE_ON
    corners = np.stack([origins, origins + us, origins + us + vs, origins + vs], axis=1)
    pixels, depths = camera.project(corners.reshape(-1, 3))
    pixels, depths = pixels.reshape(-1, 4, 2), depths.reshape(-1, 4)
    for number in np.flatnonzero(facing & (depths.min(axis=1) >= NEAREST_METRES)):
        face = Face(origins[number], us[number], vs[number], faces[number].texture)
        _draw_face(canvas, face, normals[number], pixels[number], sky_colour, owner)


def _relief_shadow(relief: Array, towards: Array, climb: float) -> Array:
    """Where the relief hides the sun: `towards` points to it in the texture, it climbs `climb` a pixel."""
    shadow = np.zeros(relief.shape, bool)
    h, w = relief.shape
    for step in range(1, 6):
        dx, dy = round(float(towards[0]) * step), round(float(towards[1]) * step)
        if abs(dx) >= w or abs(dy) >= h:
            break
        here = np.s_[max(-dy, 0) : h - max(dy, 0), max(-dx, 0) : w - max(dx, 0)]
        there = np.s_[max(dy, 0) : h - max(-dy, 0), max(dx, 0) : w - max(-dx, 0)]
        shadow[here] |= relief[there] - relief[here] > climb * step
    return shadow


def _lit(texture: Texture, face: Face, normal: Array, canvas: Canvas, sky_colour: Array) -> Array:
    """The texture in this light: (h, w, 4) float32, colour and alpha."""
    light = canvas.light
    u, v = face.u / np.linalg.norm(face.u), face.v / np.linalg.norm(face.v)
    facing = float(light.sun @ normal)
    ambient = light.sky_colour * np.float32(0.75 + 0.25 * normal[1])
    shade = texture.ledges[:, :, None] * ambient
    if facing > 0.02 and light.sun_colour[2] > 0.2:
        across = np.array([light.sun @ u, light.sun @ v])
        length = float(np.hypot(*across)) or 1e-6
        shadow = _relief_shadow(texture.relief, across / length, facing / length)
        shade += np.where(shadow, np.float32(0.06), np.float32(facing))[:, :, None] * light.sun_colour
    shade *= texture.albedo
    panes = texture.glass > 0.5
    if panes.any():
        shade[panes] = _glass(texture.albedo[panes], light.night, sky_colour)
    return np.dstack([shade, texture.alpha])


def _glass(panes: Array, night: bool, sky_colour: Array) -> Array:
    """What window panes (n, 3) show: the sky, or at night a lit room behind some of them."""
    if night:
        return np.where(panes > 0.55, float32([0.25, 0.55, 0.85]), np.float32(0.03))
    return np.float32(0.02) + sky_colour * (0.06 + 0.3 * panes * panes)


def _draw_face(
    canvas: Canvas, face: Face, normal: Array, pixels: Array, sky_colour: Array, owner: int
) -> None:
    """Draw a face whose corners lie at `pixels` (4, 2) of the picture."""
    camera = canvas.camera
    box = canvas.clip(pixels)
    if box is None:
        return
    x0, y0, x1, y1 = box
    texture = face.texture
    if texture.relief.size > 2 * cv2.contourArea(pixels.astype(np.float32)) and min(texture.relief.shape) > 8:
        texture = texture.smaller
    h, w = texture.relief.shape
    to_pixels = camera.plane_homography(face.origin, face.u / w, face.v / h)
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    shift = np.array([[1, 0, -x0 - 0.5], [0, 1, -y0 - 0.5], [0, 0, 1.0]])
    lit = cv2.warpPerspective(
        _lit(texture, face, normal, canvas, sky_colour),
        shift @ to_pixels @ half,
        (x1 - x0, y1 - y0),
        borderMode=cv2.BORDER_REPLICATE,
    )
    cv2.patchNaNs(lit, 0.0)  # on the plane's horizon, where a pixel comes from nowhere: alpha 0
    inside = np.zeros((y1 - y0, x1 - x0), np.uint8)
    outline = np.rint((pixels - (x0 + 0.5, y0 + 0.5)) * 16).clip(-500000, 500000).astype(np.int32)
    cv2.fillConvexPoly(inside, outline, 1, cv2.LINE_8, 4)
    plane = camera.inverse_depth_plane(face.origin, normal)
    canvas.put(box, lit[:, :, :3], lit[:, :, 3] * inside, canvas.plane_depth(box, plane), owner)


def _draw_facets(canvas: Canvas, facets: list[Facet], where: Placement, owner: int) -> None:
    light, camera = canvas.light, canvas.camera
    for facet in facets:
        points, normal = where.place(facet.points), where.place(facet.normal, shift=False)
        if normal @ (camera.position - points[0]) <= EDGE_ON:
            continue
        pixels, depth = camera.project(points)
        box = canvas.clip(pixels)
        if depth.min() < NEAREST_METRES or box is None:
            continue
        x0, y0, x1, y1 = box
        inside = np.zeros((y1 - y0, x1 - x0), np.float32)
        outline = np.rint((pixels - (x0 + 0.5, y0 + 0.5)) * 16).clip(-500000, 500000).astype(np.int32)
        cv2.fillConvexPoly(inside, outline, 1.0, cv2.LINE_8, 4)
        shade = light.sky_colour * np.float32(0.75 + 0.25 * normal[1]) + light.sun_colour * max(
            float(light.sun @ normal), 0.0
        )
        plane = camera.inverse_depth_plane(points[0], normal)
        canvas.put(box, facet.albedo * shade, inside, canvas.plane_depth(box, plane), owner)
