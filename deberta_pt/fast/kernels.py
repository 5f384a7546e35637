"""Triton kernels of disentangled attention: the context, the gradients of queries, those of keys and values.

The position terms come as two tables in the order of distance, made by ordinary matrix products: row ``i`` of ``C``
holds ``q_i . pos_key`` from distance ``T`` in column 0 down to ``-T`` in column ``2T``, row ``j`` of ``P`` holds
``k_j . pos_query`` from ``-T`` up to ``T``. The pair of query ``i`` and key ``j`` is column ``T - i + j`` of the one
and ``T - j + i`` of the other. So, read with a row stride of one less than the width, a tile of pairs is a strided tile
of a table: no look-up, no gather, and as ``2T`` is a multiple of 16, rows of whole vectors. Pairs that are at least
``reach`` apart share a row of the relative table: a tile of them is a number for each query plus one for each key,
columns 0 and ``2T``, which no near pair has.

The backward pass computes scores again (Dao 2023, arXiv 2307.08691). Each element of a table's gradient has one writer,
so it is stored as the table is read, without atomics, and all sums are in one order in every run.

Importing Triton takes a second, so ``triton.py`` imports this module when it is wanted.

Sizes: ``M`` queries and ``N`` keys of a tile, ``D`` head size, ``WIDTH`` the power of two that holds it. Strides are
named by tensor and axis: ``b`` batch, ``n`` head, ``l`` token. ``MASK``: 0 nothing is hidden, 1 keys, 2 pairs are.
"""

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
INFINITY = tl.constexpr(float("inf"))
ROUNDS = tl.constexpr(7)  # of Philox: the fewest that passed all tests of its authors (Salmon et al. 2011, section 5)
FIXED = ("heads", "queries", "keys", "reach", "dropped")  # whose values are no reason to compile again


@triton.jit
def load_states(X, places, count, stride, D: tl.constexpr, WIDTH: tl.constexpr):
    """Rows of ``[L, D]``, zero beyond either end."""
    d = tl.arange(0, WIDTH)
    inside = (places < count)[:, None]
    if D != WIDTH:
        inside = inside & (d < D)[None, :]
    return tl.load(X + places[:, None] * stride + d[None, :], mask=inside, other=0.0)


@triton.jit
def store_states(X, states, places, count, stride, D: tl.constexpr, WIDTH: tl.constexpr):
    """The inverse of ``load_states``."""
    d = tl.arange(0, WIDTH)
    inside = (places < count)[:, None]
    if D != WIDTH:
        inside = inside & (d < D)[None, :]
    tl.store(X + places[:, None] * stride + d[None, :], states.to(X.dtype.element_ty), mask=inside)


@triton.jit
def load_near(X, a, b, rows, columns, step):
    """The tile ``[a, b]`` of a table whose rows are those of ``a``."""
    inside = (a < rows)[:, None] & (b < columns)[None, :]
    return tl.load(X + a.to(tl.int64)[:, None] * step + (step // 2 + b)[None, :], mask=inside, other=0.0)


@triton.jit
def store_near(X, tile, a, b, rows, columns, step):
    """The inverse of ``load_near``."""
    inside = (a < rows)[:, None] & (b < columns)[None, :]
    tl.store(X + a.to(tl.int64)[:, None] * step + (step // 2 + b)[None, :], tile.to(X.dtype.element_ty), mask=inside)


@triton.jit
def load_far(X, a, rows, step, column):
    """One column of some rows of a table, float32."""
    return tl.load(X + a.to(tl.int64) * (step + 1) + column, mask=a < rows, other=0.0).to(tl.float32)


@triton.jit
def near_tiles(at, begin, end, reach, TILE: tl.constexpr, OTHER: tl.constexpr):
    """Where tiles of ``OTHER`` in a range begin and end to be near one of ``TILE`` at ``at``."""
    first = tl.maximum(at - reach + 1, 0) // OTHER * OTHER
    last = (at + TILE + reach - 2) // OTHER * OTHER + OTHER
    return tl.minimum(tl.maximum(first, begin), end), tl.minimum(tl.maximum(last, begin), end)


@triton.jit
def zero_corners(X, at, first, last, rows, columns, step, TILE: tl.constexpr, OTHER: tl.constexpr):
    """Zero what no near tile from ``first`` to ``last`` wrote of a gradient's rows, but for columns 0 and ``2T``."""
    begin, end = at, at  # of what was written: nothing, in the middle
    if last > first:
        begin, end = first, tl.minimum(first + (last - first + OTHER - 1) // OTHER * OTHER, columns)
    a, b, half = at + tl.arange(0, TILE), tl.arange(0, OTHER), step // 2
    to = X + a.to(tl.int64)[:, None] * step + (half + b)[None, :]
    nothing = tl.zeros([TILE, OTHER], X.dtype.element_ty)
    for start in range(begin - (begin - at + half + OTHER - 1) // OTHER * OTHER, begin, OTHER):
        start = start // 16 * 16  # as it is, but the compiler sees that vectors are aligned
        inside = (a < rows)[:, None]
        if start >= at + TILE - half:
            tl.store(to + start, nothing, mask=inside)
        else:  # tiles end alike, rows do not
            tl.store(to + start, nothing, mask=inside & ((start + b)[None, :] > (a - half)[:, None]))
    for start in range(end, at + TILE + half - 1, OTHER):
        start = start // 16 * 16  # as it is, but the compiler sees that vectors are aligned
        inside = (a < rows)[:, None]
        if start + OTHER <= at + half:
            tl.store(to + start, nothing, mask=inside)
        else:
            tl.store(to + start, nothing, mask=inside & ((start + b)[None, :] < (a + half)[:, None]))


@triton.jit
def seen_keys(SEEN, j, keys, MASK: tl.constexpr):
    """Which keys there are, and are not hidden, bool ``[N]``."""
    seen = j < keys
    if MASK == 1:
        seen = tl.load(SEEN + j, mask=seen, other=0) != 0
    return seen


@triton.jit
def seen_pairs(SEEN, i, j, queries, keys):
    """Which query sees which key, bool, of two vectors that broadcast."""
    return tl.load(SEEN + i.to(tl.int64) * keys + j, mask=(i < queries) & (j < keys), other=0) != 0


@triton.jit
def keeps(seed, head, i0, j0, dropped, M: tl.constexpr, N: tl.constexpr):
    """Which pairs of a tile dropout keeps, bool ``[M, N]``: by seed, head and pair alone, whatever the tiles.

    One draw of Philox decides over eight keys, by sixteen bits each.
    """
    zero = tl.zeros([M, N // 8], tl.uint32)
    row = zero + (i0 + tl.arange(0, M)).to(tl.uint32)[:, None]
    eight = zero + (j0 // 8 + tl.arange(0, N // 8)).to(tl.uint32)[None, :]
    w, x, y, z = tl.philox(seed, eight, row, zero + head.to(tl.uint32), zero, n_rounds=ROUNDS)
    words = tl.reshape(tl.join(tl.join(w, x), tl.join(y, z)), [M, N // 2])  # w, y, x, z of the first eight, and so on
    return tl.reshape(tl.join(words & 0xFFFF, words >> 16), [M, N]) >= dropped


@triton.jit
def forward_step(
    q, K, V, bias, SEEN, i, i0, j0, acc, top, total, seed, head, queries, keys, k_l, v_l, dropped,
    D: tl.constexpr, WIDTH: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
    MASK: tl.constexpr, DROPOUT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One tile of keys, whose position terms are ``bias``: the queries' sums, largest scores and totals after it."""
    j = j0 + tl.arange(0, N)
    scores = tl.dot(q, tl.trans(load_states(K, j, keys, k_l, D, WIDTH)), bias, input_precision=PRECISION)
    if MASK == 2:
        scores = tl.where(seen_pairs(SEEN, i[:, None], j[None, :], queries, keys), scores, -INFINITY)
    else:
        scores = tl.where(seen_keys(SEEN, j, keys, MASK)[None, :], scores, -INFINITY)
    new = tl.maximum(top, tl.max(scores, 1) * LOG2E)
    base = new
    if MASK != 0:  # a query may have seen nothing so far
        base = tl.where(new == -INFINITY, 0.0, new)
    p = tl.math.exp2(scores * LOG2E - base[:, None])
    shrink = tl.math.exp2(top - base)
    total = total * shrink + tl.sum(p, 1)
    if DROPOUT:
        p = tl.where(keeps(seed, head, i0, j0, dropped, M, N), p, 0.0)
    v = load_states(V, j, keys, v_l, D, WIDTH)
    acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision=PRECISION)
    return acc, new, total


@triton.jit(do_not_specialize=FIXED)
def forward(
    Q, K, V, C, P, SEEN, FIRST, LAST, SEED, OUT, LSE,
    q_b, q_n, q_l, k_b, k_n, k_l, v_b, v_n, v_l, o_b, o_n, o_l, c_b, c_n, p_b, p_n,
    heads, queries, keys, c_rows, p_rows, step, reach, dropped,
    D: tl.constexpr, WIDTH: tl.constexpr, M: tl.constexpr, N: tl.constexpr, HAS_C: tl.constexpr, HAS_P: tl.constexpr,
    MASK: tl.constexpr, DROPOUT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Context of a tile of queries of one head, and base 2 logarithms of the sums of exponentials.

    ``FIRST`` and ``LAST`` say for each query where the keys that it sees begin and end. One that sees nothing has an
    infinite logarithm: its probabilities are zero when they are computed again.
    """
    tiles = tl.cdiv(queries, M)
    tile, head = tl.program_id(0) % tiles, tl.program_id(0) // tiles
    b, n = (head // heads).to(tl.int64), head % heads
    i0 = tile * M
    i, on = i0 + tl.arange(0, M), tl.arange(0, N)
    K, V, C, P = K + b * k_b + n * k_n, V + b * v_b + n * v_n, C + b * c_b + n * c_n, P + b * p_b + n * p_n
    q = load_states(Q + b * q_b + n * q_n, i, queries, q_l, D, WIDTH)
    acc = tl.zeros([M, WIDTH], tl.float32)
    top, total = tl.full([M], -INFINITY, tl.float32), tl.zeros([M], tl.float32)
    begin, end, sees = 0, keys, i < queries
    if MASK != 0:
        last = tl.load(LAST + b * queries + i, mask=sees, other=0)
        begin = tl.min(tl.load(FIRST + b * queries + i, mask=sees, other=keys)) // N * N
        end, sees = tl.max(last), last > 0
        SEEN += b * keys * (queries if MASK == 2 else 1)
    seed = tl.load(SEED) if DROPOUT else 0
    near, far = end, end
    if HAS_C or HAS_P:
        near, far = near_tiles(i0, begin, end, reach, M, N)
        up, down = tl.zeros([M], tl.float32), tl.zeros([M], tl.float32)
        if HAS_C:
            up, down = load_far(C, i, c_rows, step, 0), load_far(C, i, c_rows, step, step)
        for j0 in range(begin, near, N):
            bias = tl.zeros([M, N], tl.float32) + up[:, None]
            if HAS_P:
                bias += load_far(P, j0 + on, p_rows, step, step)[None, :]
            acc, top, total = forward_step(
                q, K, V, bias, SEEN, i, i0, j0, acc, top, total, seed, head, queries, keys, k_l, v_l, dropped,
                D, WIDTH, M, N, MASK, DROPOUT, PRECISION,
            )  # fmt: skip
    else:
        near = begin
    for j0 in range(near, far, N):
        j0 = j0 // N * N  # as it is, but the compiler sees that vectors are aligned
        bias = tl.zeros([M, N], tl.float32)
        if HAS_C:
            bias += load_near(C, i, j0 + on, c_rows, p_rows, step).to(tl.float32)
        if HAS_P:
            bias += tl.trans(load_near(P, j0 + on, i, p_rows, c_rows, step)).to(tl.float32)
        acc, top, total = forward_step(
            q, K, V, bias, SEEN, i, i0, j0, acc, top, total, seed, head, queries, keys, k_l, v_l, dropped,
            D, WIDTH, M, N, MASK, DROPOUT, PRECISION,
        )  # fmt: skip
    if HAS_C or HAS_P:
        for j0 in range(far, end, N):
            bias = tl.zeros([M, N], tl.float32) + down[:, None]
            if HAS_P:
                bias += load_far(P, j0 + on, p_rows, step, 0)[None, :]
            acc, top, total = forward_step(
                q, K, V, bias, SEEN, i, i0, j0, acc, top, total, seed, head, queries, keys, k_l, v_l, dropped,
                D, WIDTH, M, N, MASK, DROPOUT, PRECISION,
            )  # fmt: skip
    total = tl.where(sees, total, 1.0)
    share = tl.where(sees, 1.0 / total, 0.0)
    if DROPOUT:
        share *= 65536.0 / (65536 - dropped)
    store_states(OUT + b * o_b + n * o_n, acc * share[:, None], i, queries, o_l, D, WIDTH)
    lse = tl.where(sees, top + tl.math.log2(total), INFINITY)
    tl.store(LSE + head.to(tl.int64) * queries + i, lse, mask=i < queries)


@triton.jit
def query_step(
    q, K, V, bias, SEEN, grad, lse, delta, i, i0, j0, d_q, seed, head, queries, keys, k_l, v_l, dropped,
    D: tl.constexpr, WIDTH: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
    MASK: tl.constexpr, DROPOUT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One tile of keys: the gradient of its scores ``[M, N]``, and that of the queries after it."""
    j = j0 + tl.arange(0, N)
    k = load_states(K, j, keys, k_l, D, WIDTH)
    scores = tl.dot(q, tl.trans(k), bias, input_precision=PRECISION)
    p = tl.math.exp2(scores * LOG2E - lse[:, None])
    if MASK == 2:
        p = tl.where(seen_pairs(SEEN, i[:, None], j[None, :], queries, keys), p, 0.0)
    else:
        p = tl.where(seen_keys(SEEN, j, keys, MASK)[None, :], p, 0.0)
    v = load_states(V, j, keys, v_l, D, WIDTH)
    d_p = tl.dot(grad, tl.trans(v), input_precision=PRECISION)
    if DROPOUT:
        d_p = tl.where(keeps(seed, head, i0, j0, dropped, M, N), d_p * (65536.0 / (65536 - dropped)), 0.0)
    d_scores = p * (d_p - delta[:, None])
    return d_scores, tl.dot(d_scores.to(k.dtype), k, d_q, input_precision=PRECISION)


@triton.jit(do_not_specialize=FIXED)
def backward_queries(
    Q, K, V, C, P, SEEN, FIRST, LAST, SEED, OUT, LSE, GRAD, DELTA, DQ, DC,
    q_b, q_n, q_l, k_b, k_n, k_l, v_b, v_n, v_l, o_b, o_n, o_l, c_b, c_n, p_b, p_n, g_b, g_n, g_l,
    heads, queries, keys, c_rows, p_rows, step, reach, dropped,
    D: tl.constexpr, WIDTH: tl.constexpr, M: tl.constexpr, N: tl.constexpr, HAS_C: tl.constexpr, HAS_P: tl.constexpr,
    MASK: tl.constexpr, DROPOUT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients of a tile of queries and its rows of ``C``; ``DELTA``, each query's context times its gradient.

    ``DQ`` has the strides of the context, ``DC`` those of ``C``. ``LSE`` is that of ``forward``, as all before it.
    """
    tiles = tl.cdiv(queries, M)
    tile, head = tl.program_id(0) % tiles, tl.program_id(0) // tiles
    b, n = (head // heads).to(tl.int64), head % heads
    i0 = tile * M
    i, on = i0 + tl.arange(0, M), tl.arange(0, N)
    K, V, C, P = K + b * k_b + n * k_n, V + b * v_b + n * v_n, C + b * c_b + n * c_n, P + b * p_b + n * p_n
    q = load_states(Q + b * q_b + n * q_n, i, queries, q_l, D, WIDTH)
    grad = load_states(GRAD + b * g_b + n * g_n, i, queries, g_l, D, WIDTH)
    context = load_states(OUT + b * o_b + n * o_n, i, queries, o_l, D, WIDTH)
    delta = tl.sum(context.to(tl.float32) * grad.to(tl.float32), 1)
    rows = head.to(tl.int64) * queries + i
    tl.store(DELTA + rows, delta, mask=i < queries)
    lse = tl.load(LSE + rows, mask=i < queries, other=INFINITY)
    d_q = tl.zeros([M, WIDTH], tl.float32)
    begin, end = 0, keys
    if MASK != 0:
        begin = tl.min(tl.load(FIRST + b * queries + i, mask=i < queries, other=keys)) // N * N
        end = tl.max(tl.load(LAST + b * queries + i, mask=i < queries, other=0))
        SEEN += b * keys * (queries if MASK == 2 else 1)
    seed = tl.load(SEED) if DROPOUT else 0
    near, far = end, end
    if HAS_C or HAS_P:
        near, far = near_tiles(i0, begin, end, reach, M, N)
        up, down = tl.zeros([M], tl.float32), tl.zeros([M], tl.float32)
        d_up, d_down = tl.zeros([M], tl.float32), tl.zeros([M], tl.float32)
        if HAS_C:
            DC += b * c_b + n * c_n
            up, down = load_far(C, i, c_rows, step, 0), load_far(C, i, c_rows, step, step)
        for j0 in range(begin, near, N):
            bias = tl.zeros([M, N], tl.float32) + up[:, None]
            if HAS_P:
                bias += load_far(P, j0 + on, p_rows, step, step)[None, :]
            d_scores, d_q = query_step(
                q, K, V, bias, SEEN, grad, lse, delta, i, i0, j0, d_q, seed, head, queries, keys, k_l, v_l, dropped,
                D, WIDTH, M, N, MASK, DROPOUT, PRECISION,
            )  # fmt: skip
            d_up += tl.sum(d_scores, 1)
    else:
        near = begin
    for j0 in range(near, far, N):
        j0 = j0 // N * N  # as it is, but the compiler sees that vectors are aligned
        bias = tl.zeros([M, N], tl.float32)
        if HAS_C:
            bias += load_near(C, i, j0 + on, c_rows, p_rows, step).to(tl.float32)
        if HAS_P:
            bias += tl.trans(load_near(P, j0 + on, i, p_rows, c_rows, step)).to(tl.float32)
        d_scores, d_q = query_step(
            q, K, V, bias, SEEN, grad, lse, delta, i, i0, j0, d_q, seed, head, queries, keys, k_l, v_l, dropped,
            D, WIDTH, M, N, MASK, DROPOUT, PRECISION,
        )  # fmt: skip
        if HAS_C:
            store_near(DC, d_scores, i, j0 + on, c_rows, p_rows, step)
    if HAS_C or HAS_P:
        for j0 in range(far, end, N):
            bias = tl.zeros([M, N], tl.float32) + down[:, None]
            if HAS_P:
                bias += load_far(P, j0 + on, p_rows, step, 0)[None, :]
            d_scores, d_q = query_step(
                q, K, V, bias, SEEN, grad, lse, delta, i, i0, j0, d_q, seed, head, queries, keys, k_l, v_l, dropped,
                D, WIDTH, M, N, MASK, DROPOUT, PRECISION,
            )  # fmt: skip
            d_down += tl.sum(d_scores, 1)
        if HAS_C:
            zero_corners(DC, i0, near, far, c_rows, p_rows, step, M, N)
            ends = DC + i.to(tl.int64) * (step + 1)
            tl.store(ends, d_up.to(DC.dtype.element_ty), mask=i < c_rows)
            tl.store(ends + step, d_down.to(DC.dtype.element_ty), mask=i < c_rows)
    store_states(DQ + b * o_b + n * o_n, d_q, i, queries, o_l, D, WIDTH)


@triton.jit
def key_step(
    k, v, Q, GRAD, LSE, DELTA, bias, SEEN, seen, j, i0, j0, d_k, d_v, seed, head, queries, keys, q_l, g_l, dropped,
    D: tl.constexpr, WIDTH: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
    MASK: tl.constexpr, DROPOUT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One tile of queries: the gradient of its scores ``[N, M]``, and those of keys and values after it."""
    i = i0 + tl.arange(0, M)
    q = load_states(Q, i, queries, q_l, D, WIDTH)
    scores = tl.dot(k, tl.trans(q), bias, input_precision=PRECISION)  # [N, M]
    rows = head.to(tl.int64) * queries + i
    p = tl.math.exp2(scores * LOG2E - tl.load(LSE + rows, mask=i < queries, other=INFINITY)[None, :])
    if MASK == 2:
        p = tl.where(seen_pairs(SEEN, i[None, :], j[:, None], queries, keys), p, 0.0)
    else:
        p = tl.where(seen[:, None], p, 0.0)
    grad = load_states(GRAD, i, queries, g_l, D, WIDTH)
    d_p = tl.dot(v, tl.trans(grad), input_precision=PRECISION)  # [N, M]
    kept = p
    if DROPOUT:
        keep, share = tl.trans(keeps(seed, head, i0, j0, dropped, M, N)), 65536.0 / (65536 - dropped)
        d_p, kept = tl.where(keep, d_p * share, 0.0), tl.where(keep, p * share, 0.0)
    d_v = tl.dot(kept.to(grad.dtype), grad, d_v, input_precision=PRECISION)
    d_scores = p * (d_p - tl.load(DELTA + rows, mask=i < queries, other=0.0)[None, :])
    return d_scores, tl.dot(d_scores.to(q.dtype), q, d_k, input_precision=PRECISION), d_v


@triton.jit(do_not_specialize=FIXED)
def backward_keys(
    Q, K, V, C, P, SEEN, FIRST, LAST, SEED, LSE, GRAD, DELTA, DK, DV, DP,
    q_b, q_n, q_l, k_b, k_n, k_l, v_b, v_n, v_l, d_b, d_n, d_l, c_b, c_n, p_b, p_n, g_b, g_n, g_l,
    heads, queries, keys, c_rows, p_rows, step, reach, dropped,
    D: tl.constexpr, WIDTH: tl.constexpr, M: tl.constexpr, N: tl.constexpr, HAS_C: tl.constexpr, HAS_P: tl.constexpr,
    MASK: tl.constexpr, DROPOUT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients of a tile of keys and values and its rows of ``P``; after ``backward_queries``, which makes ``DELTA``.

    ``FIRST`` and ``LAST`` say for each key where the queries that see it begin and end. ``DK`` and ``DV`` have strides
    ``d_b``, ``d_n``, ``d_l``, ``DP`` has those of ``P``.
    """
    tiles = tl.cdiv(keys, N)
    tile, head = tl.program_id(0) % tiles, tl.program_id(0) // tiles
    b, n = (head // heads).to(tl.int64), head % heads
    j0 = tile * N
    j, on = j0 + tl.arange(0, N), tl.arange(0, M)
    Q, GRAD, C, P = Q + b * q_b + n * q_n, GRAD + b * g_b + n * g_n, C + b * c_b + n * c_n, P + b * p_b + n * p_n
    k = load_states(K + b * k_b + n * k_n, j, keys, k_l, D, WIDTH)
    v = load_states(V + b * v_b + n * v_n, j, keys, v_l, D, WIDTH)
    d_k, d_v = tl.zeros([N, WIDTH], tl.float32), tl.zeros([N, WIDTH], tl.float32)
    begin, end = 0, queries
    if MASK != 0:
        begin = tl.min(tl.load(FIRST + b * keys + j, mask=j < keys, other=queries)) // M * M
        end = tl.max(tl.load(LAST + b * keys + j, mask=j < keys, other=0))
        SEEN += b * keys * (queries if MASK == 2 else 1)
    seen = seen_keys(SEEN, j, keys, MASK)
    seed = tl.load(SEED) if DROPOUT else 0
    near, far = end, end
    if HAS_C or HAS_P:
        near, far = near_tiles(j0, begin, end, reach, N, M)
        up, down = tl.zeros([N], tl.float32), tl.zeros([N], tl.float32)
        d_up, d_down = tl.zeros([N], tl.float32), tl.zeros([N], tl.float32)
        if HAS_P:
            DP += b * p_b + n * p_n
            up, down = load_far(P, j, p_rows, step, step), load_far(P, j, p_rows, step, 0)
        for i0 in range(begin, near, M):
            bias = tl.zeros([N, M], tl.float32) + down[:, None]
            if HAS_C:
                bias += load_far(C, i0 + on, c_rows, step, step)[None, :]
            d_scores, d_k, d_v = key_step(
                k, v, Q, GRAD, LSE, DELTA, bias, SEEN, seen, j, i0, j0, d_k, d_v, seed, head, queries, keys, q_l, g_l,
                dropped, D, WIDTH, M, N, MASK, DROPOUT, PRECISION,
            )  # fmt: skip
            d_down += tl.sum(d_scores, 1)
    else:
        near = begin
    for i0 in range(near, far, M):
        i0 = i0 // M * M  # as above
        bias = tl.zeros([N, M], tl.float32)
        if HAS_P:
            bias += load_near(P, j, i0 + on, p_rows, c_rows, step).to(tl.float32)
        if HAS_C:
            bias += tl.trans(load_near(C, i0 + on, j, c_rows, p_rows, step)).to(tl.float32)
        d_scores, d_k, d_v = key_step(
            k, v, Q, GRAD, LSE, DELTA, bias, SEEN, seen, j, i0, j0, d_k, d_v, seed, head, queries, keys, q_l, g_l,
            dropped, D, WIDTH, M, N, MASK, DROPOUT, PRECISION,
        )  # fmt: skip
        if HAS_P:
            store_near(DP, d_scores, j, i0 + on, p_rows, c_rows, step)
    if HAS_C or HAS_P:
        for i0 in range(far, end, M):
            bias = tl.zeros([N, M], tl.float32) + up[:, None]
            if HAS_C:
                bias += load_far(C, i0 + on, c_rows, step, 0)[None, :]
            d_scores, d_k, d_v = key_step(
                k, v, Q, GRAD, LSE, DELTA, bias, SEEN, seen, j, i0, j0, d_k, d_v, seed, head, queries, keys, q_l, g_l,
                dropped, D, WIDTH, M, N, MASK, DROPOUT, PRECISION,
            )  # fmt: skip
            d_up += tl.sum(d_scores, 1)
        if HAS_P:
            zero_corners(DP, j0, near, far, p_rows, c_rows, step, N, M)
            ends = DP + j.to(tl.int64) * (step + 1)
            tl.store(ends, d_down.to(DP.dtype.element_ty), mask=j < p_rows)
            tl.store(ends + step, d_up.to(DP.dtype.element_ty), mask=j < p_rows)
    store_states(DK + b * d_b + n * d_n, d_k, j, keys, d_l, D, WIDTH)
    store_states(DV + b * d_b + n * d_n, d_v, j, keys, d_l, D, WIDTH)
