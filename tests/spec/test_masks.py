import numpy as np
import pytest

from headsmith.spec.masks import FILL, FILL_HALF, fill_value, first_valid, last_valid, masked_scores


def test_the_fill_fits_every_dtype_named():
    assert fill_value("float32") == fill_value("bfloat16", "float64") == FILL
    assert fill_value("float16") == fill_value("float32", "float16") == FILL_HALF
    assert np.isfinite(np.float16(FILL_HALF))
    assert np.isfinite(np.float32(FILL))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, np.float64])
def test_a_mask_of_any_dtype(dtype):
    got = masked_scores([1.0, np.nan, np.inf, -2.0], np.array([0, 1, 1, 0], dtype))
    assert got.tolist() == [1.0, FILL, FILL, -2.0]


def test_a_float_mask_is_a_degree():
    # 4.34: x * (1 - p) - 1e30 * p
    assert masked_scores(2.0, 0.25, fill=-100.0) == 2.0 * 0.75 - 25.0


def test_first_and_last_token_under_any_padding():
    masks = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [0, 0, 0, 0]])
    assert first_valid(masks).tolist() == [0, 1, 2, 0]
    assert last_valid(masks).tolist() == [1, 2, 3, 3]
