"""Distances, buckets and rows of the relative table against the published table and the formula itself."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deberta_core.config import DebertaConfig, DebertaV2Config
from deberta_core.relative_position import distance_rows, even_distance, log_buckets, needed_rows
from tests.models.reference import row_index

# First distance of buckets 129 to 255, with 256 buckets and distances up to 512.
STARTS_TEXT = """
129 130 131 133 134 136 137 139 140 142 143 145 146 148 150 151 153 155 156 158 160 161 163 165 167 169 170 172 174 176
178 180 182 184 186 188 190 192 194 196 198 201 203 205 207 210 212 214 216 219 221 224 226 229 231 234 236 239 241 244
247 249 252 255 258 260 263 266 269 272 275 278 281 284 287 290 294 297 300 303 307 310 313 317 320 324 327 331 335 338
342 346 349 353 357 361 365 369 373 377 381 385 390 394 398 403 407 411 416 420 425 430 434 439 444 449 454 459 464 469
474 479 484 490 495 500 506"""
STARTS = [int(start) for start in STARTS_TEXT.split()]
SMALL_STARTS = [16, 17, 19, 22, 25, 28, 32, 37, 43, 49, 56, 64, 74, 84, 97, 111]  # buckets 16 to 31 of 32 and 128


def test_the_published_table():
    distances = np.arange(-511, 512)
    buckets = log_buckets(distances, buckets=256, max_distance=512)
    expected = [d if d <= 128 else 128 + sum(start <= d for start in STARTS) for d in range(512)]
    assert buckets[511:].tolist() == expected
    assert buckets.tolist() == [-b for b in expected[:0:-1]] + expected
    assert sum(expected) == 87297
    text = ",".join(map(str, buckets)).encode()
    assert hashlib.sha1(text).hexdigest() == "651c21e6b9a2fba53b562a9bffc308b5713cf28a"


def test_a_small_published_table():
    buckets = log_buckets(np.arange(128), buckets=32, max_distance=128).tolist()
    assert [buckets.index(n) for n in range(16, 32)] == SMALL_STARTS


CONFIGS = [
    DebertaConfig(max_position_embeddings=9),
    DebertaConfig(max_relative_positions=1),
    DebertaConfig(max_relative_positions=5, clamp_distances=True),
    DebertaV2Config(position_buckets=4, max_position_embeddings=16),
    DebertaV2Config(position_buckets=5, max_position_embeddings=16),
    DebertaV2Config(position_buckets=2, max_position_embeddings=16),
    DebertaV2Config(position_buckets=1, max_position_embeddings=16),
    DebertaV2Config(position_buckets=16, max_position_embeddings=16),
    DebertaV2Config(position_buckets=4, max_position_embeddings=16, clamp_distances=True),
    DebertaV2Config(position_buckets=256),
]


@pytest.mark.parametrize("number", range(len(CONFIGS)))
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (1, 40), (40, 1), (7, 40), (40, 40)])
def test_rows_against_the_formula(number, queries, keys):
    config = CONFIGS[number]
    rows, want = distance_rows(config), row_index(config, queries, keys)
    reach = len(rows) // 2
    distance = np.arange(queries)[:, None] - np.arange(keys)
    got = rows[np.clip(distance, -reach, reach) + reach]
    assert (got == want).all()
    assert needed_rows(rows, queries=queries, keys=keys) == (want.min(), want.max())


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 300), st.integers(2, 600))
def test_buckets_are_odd_monotone_and_end_in_the_last(buckets, distance):
    if distance - 1 <= buckets // 2:
        return  # the published formula has no room for its logarithm there
    table = log_buckets(np.arange(-distance, distance + 1), buckets=buckets, max_distance=distance)
    assert (table == -table[::-1]).all()
    assert (np.diff(table) >= 0).all()
    assert table[2 * distance - 1] == 2 * (buckets // 2) - 1, "the furthest distance falls into the last bucket"


@pytest.mark.parametrize("rows", [[5], [1, 2, 3], [1, 1, 2, 3, 4], [1, 2, 3, 4, 4], [3, 3, 3], [0, 1, 3, 4, 5]])
def test_even_distance(rows):
    middle = len(rows) // 2
    even = [d for d in range(middle + 1) if (np.diff(rows[middle - d : middle + d + 1]) == 1).all()]
    assert even_distance(np.array(rows)) == max(even)


def test_rows_cannot_be_changed():
    """They are shared by all models of a shape."""
    with pytest.raises(ValueError, match="read-only"):
        distance_rows(CONFIGS[0])[0] = 3
