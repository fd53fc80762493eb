"""drawn-facades: house fronts and their label maps, drawn by code, for trying things without a download.

Every image is a pure function of (seed, split, index, size). A label map says where things are; the rendering adds
light, shadow, material and weather. Material follows from the kind of house, and that from its roof, so a generator
can learn most of the rendering from the labels; the hour, the hue and the noise it cannot know.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from optevo.data.pairs import SPLITS
from optevo.errors import OptevoError, UsageError

Pixels = NDArray[np.float32]
Box = tuple[float, float, float, float]  # left, top, right, bottom, as fractions of the picture

# The label colours (RGB).
LABELS: dict[str, tuple[int, int, int]] = {
    "sky": (128, 192, 255),
    "roof": (170, 40, 60),
    "wall": (0, 40, 200),
    "window": (0, 150, 255),
    "shutter": (255, 230, 0),
    "door": (255, 120, 0),
    "balcony": (150, 240, 90),
    "cornice": (0, 240, 230),
    "shop": (120, 0, 150),
    "ground": (70, 70, 80),
}
_FINE = 2  # the rendering is painted this many times finer than it is kept, which smooths its edges


@dataclass(frozen=True)
class _House:
    """What is where; boxes in fractions of the picture."""

    kind: str  # "stone" under a mansard, "brick" under a gable, "plaster" under a flat roof
    body: Box
    roof_top: float
    columns: int
    floors: int
    bays: list[list[Box]]  # window boxes, floor by floor from the top
    door: Box
    shops: list[Box]
    balconies: list[Box]
    shutters: bool
    cornices: list[Box]


@dataclass(frozen=True)
class _Look:
    """What the labels do not tell: light and material."""

    wall: Pixels
    roof: Pixels
    door: Pixels
    trim: Pixels
    shutter: Pixels
    sky_top: Pixels
    sky_low: Pixels
    glass: Pixels
    lit: float  # chance that a window is lit
    sun: int  # 1: light from the left, -1: from the right


def draw_facades(
    root: Path, *, count: int = 60, val: int = 12, test: int = 12, size: tuple[int, int] = (64, 64), seed: int = 0
) -> Path:
    """Draw a dataset of AB images as PNG files `root/{train,val,test}/N.png`: A the rendering, B the label map.

    The layout of pix2pix's facades; direction "BtoA" turns labels into renderings. Existing files are drawn over.

    Args:
        root: the folder, made if need be.
        count: images in train.
        val: images in val; 0 for no such split.
        test: images in test; 0 for no such split.
        size: (height, width) of one half, at least 16 each.
        seed: any integer >= 0.

    Returns:
        `root`.

    Raises:
        UsageError: an argument is out of range.
        OptevoError: a file cannot be written.
    """
    _check_arguments(count, val, test, size, seed)
    root = Path(root)
    for split, number in zip(SPLITS, (count, val, test), strict=True):
        for index in range(number):
            rendering, labels = draw_facade(seed=seed, split=split, index=index, size=size)
            _save(np.concatenate((rendering, labels), axis=1), root / split / f"{index + 1}.png")
    return root


def draw_facade(
    *, seed: int, split: str, index: int, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One facade: its rendering and its label map, each uint8 (height, width, 3)."""
    random = np.random.default_rng([seed, SPLITS.index(split), index])
    house = _plan_house(random)
    labels = _paint_labels(house, size)
    return _render(house, _choose_look(house.kind, random), labels, random, size), labels


def _check_arguments(count: int, val: int, test: int, size: tuple[int, int], seed: int) -> None:
    for key, value, least in (("count", count, 1), ("val", val, 0), ("test", test, 0), ("seed", seed, 0)):
        if value < least:
            raise UsageError(f"{key} = {value}: must be at least {least}")
    if len(size) != 2 or min(size) < 16:
        raise UsageError(f"size = {size}: must be (height, width), at least 16 each")


def _save(image: NDArray[np.uint8], path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OptevoError(f"{path}: cannot be written ({reason}); choose another folder or free some space") from error


# --- what is where -----------------------------------------------------------------------------------------------


def _plan_house(random: np.random.Generator) -> _House:
    kind = str(random.choice(["stone", "brick", "plaster"]))
    left, right = random.uniform(0.0, 0.09), 1 - random.uniform(0.0, 0.09)
    roof_top = random.uniform(0.04, 0.09)
    top = roof_top + {"stone": 0.12, "brick": 0.15, "plaster": 0.05}[kind] * random.uniform(0.9, 1.2)
    body = (left, top, right, random.uniform(0.9, 0.93))
    floors, columns = int(random.integers(3, 6)), int(random.integers(3, 6))
    rows = np.linspace(top + 0.01, body[3], floors + 1)
    cells = np.linspace(left + 0.025, right - 0.025, columns + 1)
    slim = random.uniform(0.62, 0.85)
    bays = [_windows(cells, rows[floor], rows[floor + 1], slim) for floor in range(floors - 1)]
    shutters = kind == "plaster" and random.random() < 0.75
    door, shops = _ground_floor(cells, rows[-2], rows[-1], random)
    cornices = [(left, y - 0.008, right, y + 0.009) for y in (rows[1:-1] if kind == "stone" else rows[-2:-1])]
    cornices.append((max(0.0, left - 0.02), top - 0.012, min(1.0, right + 0.02), top + 0.014))
    return _House(
        kind, body, roof_top, columns, floors, bays, door, shops, _balconies(bays, cells, random), shutters, cornices
    )


def _windows(cells: NDArray[np.float64], top: float, bottom: float, slim: float) -> list[Box]:
    """One window a cell, `slim` times as wide as high unless the cells are narrow."""
    height = bottom - top
    y0, y1 = top + height * 0.2, bottom - height * 0.17
    width = min((cells[1] - cells[0]) * 0.5, (y1 - y0) * slim)
    return [(float(x - width / 2), float(y0), float(x + width / 2), float(y1)) for x in (cells[:-1] + cells[1:]) / 2]


def _ground_floor(
    cells: NDArray[np.float64], top: float, bottom: float, random: np.random.Generator
) -> tuple[Box, list[Box]]:
    cell, height = cells[1] - cells[0], bottom - top
    at = int(random.integers(len(cells) - 1))
    middle, half = (cells[at] + cells[at + 1]) / 2, cell * random.uniform(0.24, 0.3)
    door = (float(middle - half), float(top + height * 0.24), float(middle + half), float(bottom))
    sill = bottom - height * random.uniform(0.12, 0.3)
    margin = cell * 0.12
    shops = [
        (float(cells[i] + margin), float(top + height * 0.22), float(cells[i + 1] - margin), float(sill))
        for i in range(len(cells) - 1)
        if i != at
    ]
    return door, shops


def _balconies(bays: list[list[Box]], cells: NDArray[np.float64], random: np.random.Generator) -> list[Box]:
    """Railings in front of the lower part of some windows: whole columns or whole floors, seldom single ones."""
    style = random.choice(["none", "column", "floor", "some"], p=[0.2, 0.35, 0.25, 0.2])
    column, floor = random.integers(len(cells) - 1), random.integers(len(bays))
    cell = cells[1] - cells[0]
    boxes = []
    for row, windows in enumerate(bays):
        for place, (x0, y0, x1, y1) in enumerate(windows):
            chosen = {"none": False, "column": place == column, "floor": row == floor, "some": random.random() < 0.3}
            if chosen[str(style)]:
                reach = min((cell - (x1 - x0)) * 0.36, (x1 - x0) * 0.5)
                boxes.append((x0 - reach, y1 - (y1 - y0) * 0.36, x1 + reach, y1 + (y1 - y0) * 0.1))
    return boxes


def _shutters_of(window: Box) -> tuple[Box, Box]:
    x0, y0, x1, y1 = window
    wide = (x1 - x0) * 0.4
    return (x0 - wide, y0, x0, y1), (x1, y0, x1 + wide, y1)


def _choose_look(kind: str, random: np.random.Generator) -> _Look:
    walls = {
        "stone": [(214, 196, 164), (204, 188, 166), (222, 208, 182)],
        "brick": [(158, 78, 60), (142, 70, 56), (170, 92, 68)],
        "plaster": [(226, 176, 128), (232, 200, 140), (216, 160, 140)],
    }
    roofs = {"stone": (88, 98, 112), "brick": (112, 58, 46), "plaster": (128, 108, 96)}
    hours = [
        ((92, 148, 216), (196, 222, 242), (70, 92, 120), 0.05),  # noon
        ((118, 138, 184), (250, 206, 160), (92, 80, 88), 0.3),  # evening
        ((164, 174, 186), (214, 218, 222), (80, 90, 98), 0.12),  # overcast
    ]
    sky_top, sky_low, glass, lit = hours[int(random.choice(3, p=[0.55, 0.2, 0.25]))]
    tint = random.normal(0, 5, 3)
    options = walls[kind]
    return _Look(
        wall=_colour(options[int(random.integers(len(options)))], tint),
        roof=_colour(roofs[kind], random.normal(0, 5, 3)),
        door=_colour([(104, 62, 38), (40, 72, 62), (110, 34, 36), (44, 54, 84)][int(random.integers(4))]),
        trim=_colour((236, 230, 218) if kind != "stone" else (228, 216, 194), tint),
        shutter=_colour([(70, 112, 92), (84, 112, 140), (122, 74, 54)][int(random.integers(3))]),
        sky_top=_colour(sky_top),
        sky_low=_colour(sky_low),
        glass=_colour(glass),
        lit=lit,
        sun=1 if random.random() < 0.75 else -1,
    )


def _colour(rgb: tuple[int, int, int], change: NDArray[np.float64] | float = 0.0) -> Pixels:
    return (np.asarray(rgb, dtype=np.float64) + change).astype(np.float32)


# --- the label map -----------------------------------------------------------------------------------------------


def _span(box: Box, shape: tuple[int, ...], grid: int = 1) -> tuple[slice, slice]:
    """The pixels of a box, at least one, on a grid of `grid` pixels (so that labels and rendering share edges)."""
    height, width = shape[0] // grid, shape[1] // grid
    x0, x1 = (min(max(round(x * width), 0), width) for x in (box[0], box[2]))
    y0, y1 = (min(max(round(y * height), 0), height) for y in (box[1], box[3]))
    x0, y0 = min(x0, width - 1), min(y0, height - 1)
    return slice(y0 * grid, max(y1, y0 + 1) * grid), slice(x0 * grid, max(x1, x0 + 1) * grid)


def _paint_labels(house: _House, size: tuple[int, int]) -> NDArray[np.uint8]:
    canvas = np.empty((*size, 3), np.uint8)

    def fill(box: Box, label: str) -> None:
        canvas[_span(box, canvas.shape)] = LABELS[label]

    fill((0, 0, 1, 1), "sky")
    fill((0, house.body[3], 1, 1), "ground")
    canvas[_roof_mask(house, size)] = LABELS["roof"]
    fill(house.body, "wall")
    for box in house.cornices:
        fill(box, "cornice")
    for box in house.shops:
        fill(box, "shop")
    for window in (window for floor in house.bays for window in floor):
        fill(window, "window")
        for shutter in _shutters_of(window) if house.shutters else ():
            fill(shutter, "shutter")
    fill(house.door, "door")
    for box in house.balconies:
        fill(box, "balcony")
    return canvas


def _roof_mask(house: _House, size: tuple[int, int], grid: int = 1) -> NDArray[np.bool_]:
    """Trapezoid, triangle or strip, by the kind of house; cut on the grid of the labels."""
    left, bottom, right, _ = house.body
    y = (np.arange(size[0] // grid)[:, None] + 0.5) / (size[0] // grid)
    x = (np.arange(size[1] // grid)[None, :] + 0.5) / (size[1] // grid)
    rise = np.clip((bottom - y) / (bottom - house.roof_top), 0, 1)
    inset = {"stone": 0.16, "brick": 0.5, "plaster": 0.0}[house.kind] * (right - left) * rise
    mask = (y >= house.roof_top) & (y < bottom) & (x >= left + inset) & (x <= right - inset)
    return mask if grid == 1 else mask.repeat(grid, axis=0).repeat(grid, axis=1)


# --- the rendering -----------------------------------------------------------------------------------------------


class _Canvas:
    """A float picture, `_FINE` times the final size, painted in boxes."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = (size[0] * _FINE, size[1] * _FINE)
        self.pixels: Pixels = np.zeros((*self.size, 3), np.float32)

    def view(self, box: Box, *, exact: bool = True) -> Pixels:
        """The pixels of a box, to paint on: on the grid of the labels, or finer."""
        return self.pixels[_span(box, self.size, _FINE if exact else 1)]

    def shade(self, box: Box, factor: float) -> None:
        """Darken (below 1) or lighten (above 1)."""
        self.view(box, exact=False)[...] *= np.float32(factor)

    def finish(self) -> NDArray[np.uint8]:
        height, width = (side // _FINE for side in self.size)
        mean: Pixels = self.pixels.reshape(height, _FINE, width, _FINE, 3).mean(axis=(1, 3))
        result: NDArray[np.uint8] = np.clip(mean + 0.5, 0, 255).astype(np.uint8)
        return result


def _render(
    house: _House, look: _Look, labels: NDArray[np.uint8], random: np.random.Generator, size: tuple[int, int]
) -> NDArray[np.uint8]:
    canvas = _Canvas(size)
    _paint_sky(canvas, look, random)
    _paint_ground(canvas, house, random)
    _paint_roof(canvas, house, look, random)
    _paint_wall(canvas, house, look, random)
    for box in house.cornices:
        _paint_cornice(canvas, box, look)
    for box in house.shops:
        _paint_shop(canvas, box, look, random)
    for window in (window for floor in house.bays for window in floor):
        _paint_window(canvas, window, look, random)
        for shutter in _shutters_of(window) if house.shutters else ():
            _paint_shutter(canvas, shutter, look)
    _paint_door(canvas, house.door, look)
    for box in house.balconies:
        _paint_balcony(canvas, box, look)
    canvas.pixels += random.normal(0, 3.5, (*canvas.size, 1)).astype(np.float32)
    return canvas.finish()


def _clouds(size: tuple[int, int], cells: int, random: np.random.Generator) -> Pixels:
    """Smooth noise of about `cells` bumps across, (H, W, 1), mean 0, about -1..1."""
    coarse = random.normal(0, 0.5, (cells, cells)).astype(np.float32)
    smooth = Image.fromarray(coarse).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return np.asarray(smooth, dtype=np.float32)[:, :, None]


def _ramp(first: Pixels | float, last: Pixels | float, view: Pixels, axis: int = 0) -> Pixels:
    """A linear gradient over a view: down (axis 0) or across (axis 1)."""
    t = np.linspace(0, 1, view.shape[axis], dtype=np.float32)
    t = t[:, None, None] if axis == 0 else t[None, :, None]
    return np.asarray(first * (1 - t) + last * t, dtype=np.float32)


def _paint_sky(canvas: _Canvas, look: _Look, random: np.random.Generator) -> None:
    sky = canvas.view((0, 0, 1, 0.35))
    clouds = np.clip(_clouds(sky.shape[:2], 5, random) + 0.5 * _clouds(sky.shape[:2], 11, random), 0, 1)
    sky[...] = _ramp(look.sky_top, look.sky_low, sky)
    sky += (250 - sky) * clouds * 0.75
    canvas.view((0, 0.35, 1, 1))[...] = look.sky_low


def _paint_ground(canvas: _Canvas, house: _House, random: np.random.Generator) -> None:
    box = (0.0, house.body[3], 1.0, 1.0)
    ground = canvas.view(box)
    ground[...] = _ramp(_colour((136, 130, 124)), _colour((96, 94, 96)), ground)
    ground += 8 * _clouds(ground.shape[:2], 6, random)
    height = 1 - house.body[3]
    canvas.shade((0, box[1], 1, box[1] + height * 0.16), 0.62)  # the foot of the wall
    canvas.shade((0, box[1] + height * 0.55, 1, box[1] + height * 0.62), 0.75)  # the kerb


def _paint_roof(canvas: _Canvas, house: _House, look: _Look, random: np.random.Generator) -> None:
    mask = _roof_mask(house, canvas.size, _FINE)
    y, x = (np.arange(side, dtype=np.float32) / side for side in canvas.size)
    rows = np.floor(y * 56)
    tiles = 0.86 + 0.2 * ((y * 56) % 1)[:, None] + 0.07 * np.sin(x * 130 + rows[:, None] * 2.1)
    light = np.linspace(1.12, 0.86, canvas.size[1], dtype=np.float32)[:: look.sun]
    colour = look.roof * (tiles * light)[:, :, None] + 9 * _clouds(canvas.size, 9, random)
    canvas.pixels[mask] = colour[mask]


def _paint_wall(canvas: _Canvas, house: _House, look: _Look, random: np.random.Generator) -> None:
    wall = canvas.view(house.body)
    wall[...] = look.wall * _ramp(1.07, 0.9, wall) * _ramp(1.06, 0.92, wall, axis=1)[:, :: look.sun]
    wall += 9 * _clouds(wall.shape[:2], 5, random) + 4 * _clouds(wall.shape[:2], 24, random)
    _paint_courses(wall, house.kind, canvas.size)
    canvas.shade((house.body[0], house.body[1], house.body[2], house.body[1] + 0.035), 0.74)  # shadow of the eaves
    edge = (house.body[2] - 0.012, house.body[1], house.body[2], house.body[3])
    canvas.shade(edge if look.sun > 0 else (house.body[0], house.body[1], house.body[0] + 0.012, house.body[3]), 0.8)


def _paint_courses(wall: Pixels, kind: str, size: tuple[int, int]) -> None:
    """Joints of bricks or ashlar blocks; plaster has none."""
    if kind == "plaster":
        return
    across, depth, mortar = (44, 0.12, 24.0) if kind == "brick" else (14, 0.09, -20.0)
    row = np.arange(wall.shape[0], dtype=np.float32) * across / size[0]
    column = np.arange(wall.shape[1], dtype=np.float32) * across / 2 / size[1]
    stagger = column[None, :] + 0.5 * (np.floor(row)[:, None] % 2)
    joint = ((row % 1) < 0.22)[:, None] | ((stagger % 1) < 0.09)
    # Each brick or block has its own tone: a hash of its place.
    tone = np.sin(np.floor(row)[:, None] * 12.9898 + np.floor(stagger) * 78.233) * 43758.547
    wall *= (1 - depth / 2 + depth * (tone - np.floor(tone)))[:, :, None].astype(np.float32)
    wall += joint[:, :, None] * np.float32(mortar)


def _paint_cornice(canvas: _Canvas, box: Box, look: _Look) -> None:
    x0, _, x1, y1 = box
    view = canvas.view(box)
    view[...] = look.trim * _ramp(1.06, 0.8, view)
    canvas.shade((x0, y1, x1, y1 + 0.014), 0.72)


def _paint_glass(canvas: _Canvas, box: Box, look: _Look, random: np.random.Generator) -> None:
    glass = canvas.view(box, exact=False)
    if random.random() < look.lit:
        glass[...] = _ramp(_colour((255, 214, 140)), _colour((214, 150, 84)), glass)
        return
    glass[...] = _ramp(look.sky_low * 0.72, look.glass, glass)
    height, width = glass.shape[:2]
    # A bright diagonal, as a reflection of the sky.
    y, x = np.arange(height)[:, None] / max(height, 1), np.arange(width)[None, :] / max(width, 1)
    start = random.uniform(0.2, 1.1)
    glass += (np.abs(x + 0.6 * y - start) < 0.16)[:, :, None] * np.float32(22)
    if random.random() < 0.4:  # a blind, drawn part of the way
        x0, y0, x1, y1 = box
        blind = canvas.view((x0, y0, x1, y0 + (y1 - y0) * random.uniform(0.2, 0.6)), exact=False)
        blind[...] = blind * 0.25 + _colour((222, 214, 198)) * 0.75


def _inner(box: Box, part: float) -> Box:
    x0, y0, x1, y1 = box
    margin = part * min(x1 - x0, y1 - y0)
    return x0 + margin, y0 + margin, x1 - margin, y1 - margin


def _paint_window(canvas: _Canvas, box: Box, look: _Look, random: np.random.Generator) -> None:
    x0, y0, x1, y1 = box
    wide, high = x1 - x0, y1 - y0
    canvas.view((x0 - wide * 0.12, y1, x1 + wide * 0.12, y1 + 0.012), exact=False)[...] = look.trim  # the sill
    canvas.shade((x0 - wide * 0.1, y1 + 0.012, x1 + wide * 0.1, y1 + 0.026), 0.76)
    frame = canvas.view(box)
    frame[...] = look.trim * _ramp(0.8, 1.02, frame)
    _paint_glass(canvas, _inner(box, 0.1), look, random)
    middle, bar = (x0 + x1) / 2, wide * 0.045
    canvas.view((middle - bar, y0, middle + bar, y1), exact=False)[...] = look.trim * 0.95
    cross = y0 + high * 0.34
    canvas.view((x0, cross - bar * 0.8, x1, cross + bar * 0.8), exact=False)[...] = look.trim * 0.95
    _recess(canvas, box, look)


def _recess(canvas: _Canvas, box: Box, look: _Look) -> None:
    """The shadow that the wall throws on what lies behind its face: from above and from the sun's side."""
    x0, y0, x1, y1 = box
    side = (x1 - x0) * 0.14
    canvas.shade((x0, y0, x1, y0 + (y1 - y0) * 0.1), 0.6)
    canvas.shade((x0, y0, x0 + side, y1) if look.sun > 0 else (x1 - side, y0, x1, y1), 0.68)


def _paint_shutter(canvas: _Canvas, box: Box, look: _Look) -> None:
    view = canvas.view(box)
    slats = 0.86 + 0.24 * ((np.arange(view.shape[0], dtype=np.float32) / canvas.size[0] * 90) % 1)
    view[...] = look.shutter * slats[:, None, None]
    x0, _, x1, y1 = box
    canvas.shade((x0, y1, x1, y1 + 0.012), 0.78)


def _paint_shop(canvas: _Canvas, box: Box, look: _Look, random: np.random.Generator) -> None:
    x0, y0, x1, y1 = box
    canvas.view(box)[...] = look.door * 0.8
    _paint_glass(canvas, _inner(box, 0.09), look, random)
    canvas.view((x0, y0, x1, y0 + (y1 - y0) * 0.2))[...] = look.door * 1.25  # the sign
    sign = _inner((x0, y0, x1, y0 + (y1 - y0) * 0.2), 0.3)
    canvas.view((sign[0] + (x1 - x0) * 0.15, sign[1], sign[2] - (x1 - x0) * 0.15, sign[3]), exact=False)[...] = (
        look.trim
    )
    canvas.shade((x0, y0 + (y1 - y0) * 0.2, x1, y0 + (y1 - y0) * 0.28), 0.6)


def _paint_door(canvas: _Canvas, box: Box, look: _Look) -> None:
    x0, y0, x1, y1 = box
    wide, high = x1 - x0, y1 - y0
    canvas.view(box)[...] = look.trim * 0.88
    leaf = (x0 + wide * 0.1, y0 + high * 0.24, x1 - wide * 0.1, y1)
    view = canvas.view(leaf, exact=False)
    view[...] = look.door * _ramp(1.15, 0.85, view)
    light = canvas.view((x0 + wide * 0.1, y0 + high * 0.06, x1 - wide * 0.1, y0 + high * 0.2), exact=False)
    light[...] = _ramp(look.glass, look.sky_low * 0.7, light)
    for left, right in ((0.18, 0.45), (0.55, 0.82)):
        for top, bottom in ((0.32, 0.56), (0.62, 0.9)):
            panel = (x0 + wide * left, y0 + high * top, x0 + wide * right, y0 + high * bottom)
            canvas.shade(panel, 0.78)
            canvas.shade(_inner(panel, 0.2), 1.22)
    canvas.shade((x0 + wide * 0.49, leaf[1], x0 + wide * 0.51, y1), 0.6)
    _recess(canvas, box, look)


def _paint_balcony(canvas: _Canvas, box: Box, look: _Look) -> None:
    """A slab, bars with the wall showing between them, a handrail, and the shadow below."""
    x0, y0, x1, y1 = box
    high = y1 - y0
    view = canvas.view(box)
    iron = _colour((44, 46, 50))
    bars = (np.arange(view.shape[1]) / canvas.size[1] * 64) % 1 < 0.42
    view[...] = np.where(bars[None, :, None], iron, view * 0.72)
    canvas.view((x0, y0, x1, y0 + high * 0.12), exact=False)[...] = iron
    slab = canvas.view((x0, y1 - high * 0.2, x1, y1), exact=False)
    slab[...] = look.trim * _ramp(1.0, 0.72, slab)
    canvas.shade((x0, y1, x1, y1 + 0.03), 0.68)
