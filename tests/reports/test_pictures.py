"""The rows of a picture hold the images that were given, pixel by pixel."""

import numpy as np
import pytest

from optevo.reports.pictures import GAP, LEAST_SIDE, picture


def test_rows_of_images_are_enlarged_by_a_whole_factor():
    random = np.random.default_rng(0)
    rows = {"a": [random.integers(0, 256, (24, 32, 3), dtype=np.uint8) for _ in range(2)]}
    rows["b"] = [random.integers(0, 256, (24, 32, 1), dtype=np.uint8)]
    pixels = np.asarray(picture(rows))
    factor = LEAST_SIDE // 24
    margin = pixels.shape[1] - 2 * (32 * factor + GAP)
    first = pixels[GAP : GAP + 24 * factor : factor, margin : margin + 32 * factor : factor]
    assert np.array_equal(first, rows["a"][0])
    top = GAP + 24 * factor + GAP
    grey = pixels[top : top + 24 * factor : factor, margin : margin + 32 * factor : factor]
    assert np.array_equal(grey, np.repeat(rows["b"][0], 3, axis=2))


def test_no_images_are_an_error():
    with pytest.raises(ValueError, match="at least one image"):
        picture({"a": []})
