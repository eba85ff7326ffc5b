"""What pictures cost: the models' own arithmetic by hand, and sizes that a number of tokens buys."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_node.compress.price import FixedTokens, PatchTokens
from foveate.errors import InvalidInput

QWEN2, QWEN3 = PatchTokens(), PatchTokens(patch=32, least=64, most=16384)


@pytest.mark.parametrize(
    ("size", "patches"),
    [
        ((336, 336), 144),  # 12 x 12
        ((224, 224), 64),
        ((768, 576), 567),  # 27.4 and 20.6 patches, rounded to 27 x 21
        ((28, 28), 4),  # below 4 patches it is enlarged: 28 * 2 -> 2 x 2
        ((280, 10), 11),  # 10 x 0 patches, enlarged by sqrt(3136 / 2800) = 1.058: ceil 10.58 x ceil .38
        ((28000, 28000), 16384),  # 1000 x 1000 patches, shrunk by 3584 / 28000 to 128 x 128
    ],
)
def test_patches_as_the_processor_counts_them(size, patches):
    assert QWEN2.tokens(*size) == patches + 2


def test_what_144_and_64_tokens_buy():
    assert PatchTokens(wrapping=0).fit(1000, 1000, 144) == (336, 336)
    assert PatchTokens(wrapping=0).fit(1000, 1000, 64) == (224, 224)
    # 62 patches of 4 : 3 are 9.09 x 6.82, cut to 9 x 6.
    assert QWEN2.fit(768, 576, 64) == (9 * 28, 6 * 28)


def test_a_picture_is_not_blown_up():
    assert QWEN2.fit(100, 90, 5000) == (84, 84)


def test_a_model_with_a_least_size_gets_it():
    assert QWEN3.cheapest == 66
    assert QWEN3.fit(160, 90, 65) is None
    width, height = QWEN3.fit(160, 90, 66)
    assert width * height == 64 * 32 * 32


def test_fixed_prices():
    rule = FixedTokens(256, 384)
    assert rule.tokens(4000, 10) == 256
    assert rule.fit(768, 576, 256) == (384, 288)
    assert rule.fit(100, 50, 999) == (100, 50)
    assert rule.fit(768, 576, 255) is None


@settings(deadline=None)
@given(
    width=st.integers(1, 8000),
    height=st.integers(1, 8000),
    most=st.integers(-3, 3000),
    rule=st.sampled_from([QWEN2, QWEN3, PatchTokens(least=5, wrapping=0), FixedTokens(81, 512)]),
)
def test_a_size_that_fits_costs_no_more_and_there_is_one_when_the_least_fits(width, height, most, rule):
    size = rule.fit(width, height, most)
    if size is None:
        assert most < rule.cheapest
    else:
        assert rule.tokens(*size) <= most
        assert min(size) >= 1


@settings(deadline=None)
@given(width=st.integers(1, 4000), height=st.integers(1, 4000), most=st.integers(66, 3000))
def test_the_model_leaves_a_size_that_fits_as_it_is(width, height, most):
    size = QWEN3.fit(width, height, most)
    assert size[0] % 32 == size[1] % 32 == 0
    assert QWEN3.tokens(*size) == size[0] * size[1] // 32**2 + 2


def test_what_shows_nothing_is_refused():
    with pytest.raises(InvalidInput):
        QWEN2.tokens(0, 5)
    with pytest.raises(InvalidInput):
        QWEN2.tokens(8000, 28)
    with pytest.raises(InvalidInput):
        FixedTokens(1, 1).fit(5, 0, 1)
