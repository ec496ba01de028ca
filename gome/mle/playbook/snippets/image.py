"""Features of one small grey image per row. Pixels have no missing values here and lie in 0–1."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.ndimage import affine_transform

from gome.mle.playbook.snippets.data import named


def images_of(x: pd.DataFrame, shape: tuple[int, int]) -> np.ndarray:
    """The pixels as an array of shape (rows, height, width)."""
    return named(x, "pixel:").to_numpy(dtype=float).reshape(-1, *shape)


def with_images(x: pd.DataFrame, images: np.ndarray) -> pd.DataFrame:
    """The frame with its pixels replaced."""
    pixels = [c for c in x if c.startswith("pixel:")]
    flat = pd.DataFrame(images.reshape(len(x), -1), index=x.index, columns=pixels)
    return pd.concat([x.drop(columns=pixels), flat], axis=1)


def deskew(x: pd.DataFrame, shape: tuple[int, int]) -> pd.DataFrame:
    """Undo the slant of each image: shear it so that its second moments have no mixed term."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    images = images_of(x, shape)
    straight = np.empty_like(images)
    for i, image in enumerate(images):
        mass = image.sum()
        center = np.array([(rows * image).sum(), (columns * image).sum()]) / max(mass, 1e-12)
        vertical = ((rows - center[0]) ** 2 * image).sum()
        slant = ((rows - center[0]) * (columns - center[1]) * image).sum() / max(vertical, 1e-12)
        shear = np.array([[1.0, 0.0], [slant, 1.0]])
        offset = center - shear @ (np.array(shape) / 2)
        straight[i] = affine_transform(image, shear, offset=offset, order=1) if mass > 0 else image
    return with_images(x, straight)


def gradient_histograms(x: pd.DataFrame, shape: tuple[int, int], cell: int) -> pd.DataFrame:
    """Histograms of oriented gradients: edge strength in nine directions over cells, normalised by block."""
    images = images_of(x, shape)
    down, right = np.gradient(images, axis=(1, 2))
    strength = np.hypot(down, right)
    place = (np.arctan2(down, right) % np.pi) / np.pi * 9
    lower = np.floor(place).astype(int) % 9
    share = place - np.floor(place)
    cells_down, cells_right = max(shape[0] // cell, 1), max(shape[1] // cell, 1)
    cut_down, cut_right = (
        np.array_split(np.arange(shape[0]), cells_down),
        np.array_split(np.arange(shape[1]), cells_right),
    )
    histograms = np.zeros((len(images), cells_down, cells_right, 9))
    for direction in range(9):
        weight = strength * ((lower == direction) * (1 - share) + ((lower + 1) % 9 == direction) * share)
        for i, part_down in enumerate(cut_down):
            band = weight[:, part_down].sum(axis=1)
            for j, part_right in enumerate(cut_right):
                histograms[:, i, j, direction] = band[:, part_right].sum(axis=1)
    blocks = []
    for i in range(max(cells_down - 1, 1)):
        for j in range(max(cells_right - 1, 1)):
            part = histograms[:, i : i + 2, j : j + 2].reshape(len(images), -1)
            blocks.append(part / np.sqrt((part**2).sum(axis=1, keepdims=True) + 1e-4))
    values = np.concatenate(blocks, axis=1)
    return pd.DataFrame(values, index=x.index, columns=[f"num:gradient {i}" for i in range(values.shape[1])])


def with_shifts(
    x: pd.DataFrame, y: np.ndarray, shape: tuple[int, int], step: int
) -> tuple[pd.DataFrame, np.ndarray]:
    """Training images repeated, moved by `step` pixels up, down, left and right."""
    images = images_of(x, shape)
    frames = [x]
    for down, right in ((step, 0), (-step, 0), (0, step), (0, -step)):
        padded = np.pad(images, ((0, 0), (step, step), (step, step)))
        moved = padded[:, step - down :, step - right :][:, : shape[0], : shape[1]]
        frames.append(with_images(x, moved))
    return pd.concat(frames, ignore_index=True), np.tile(y, 5)
