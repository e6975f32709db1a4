// The kernels, over 16-lane vectors. Included by kernels_avx2.cpp and kernels_avx512.cpp, each of
// which defines Lanes and its operations first.

constexpr std::ptrdiff_t lane_count = 16;
constexpr std::ptrdiff_t panel_width = 32;

/// The first `count` floats of p, zero (or `fill`) behind them.
inline Lanes load_first(const float* p, std::ptrdiff_t count, float fill) {
    float padded[lane_count];
    for (std::ptrdiff_t i = 0; i < lane_count; ++i)
        padded[i] = i < count ? p[i] : fill;
    return load(padded);
}

inline void store_first(float* p, std::ptrdiff_t count, Lanes v) {
    float padded[lane_count];
    store(padded, v);
    for (std::ptrdiff_t i = 0; i < count; ++i)
        p[i] = padded[i];
}

/// Lane i and i + 8, then i + 4, i + 2, i + 1: the one shape of sum over lanes, as in
/// tree_sum(Lanes).
template <typename Number>
inline Number tree_sum(Number* lanes) {
    for (std::ptrdiff_t width = lane_count / 2; width > 0; width /= 2)
        for (std::ptrdiff_t i = 0; i < width; ++i)
            lanes[i] += lanes[i + width];
    return lanes[0];
}

/// One tile: `Rows` rows of a by `tile_lanes` vectors of the panel.
template <unsigned Rows>
inline void multiply_tile(const float* a,
                          std::ptrdiff_t a_stride,
                          std::ptrdiff_t depth,
                          const float* panel,
                          float* out,
                          std::ptrdiff_t out_stride,
                          std::ptrdiff_t columns,
                          int add_to_old) {
    Lanes sums[std::size_t{Rows}][tile_lanes];
    for (std::ptrdiff_t i = 0; i < std::ptrdiff_t{Rows}; ++i)
        for (int j = 0; j < tile_lanes; ++j) {
            const std::ptrdiff_t left = columns - j * lane_count;
            sums[i][j] = !add_to_old ? zero()
                         : left >= lane_count
                             ? load(out + i * out_stride + j * lane_count)
                             : load_first(out + i * out_stride + j * lane_count, left, 0.0f);
        }
    for (std::ptrdiff_t k = 0; k < depth; ++k) {
        Lanes b[tile_lanes];
        for (int j = 0; j < tile_lanes; ++j)
            b[j] = load(panel + k * panel_width + j * lane_count);
        for (std::ptrdiff_t i = 0; i < std::ptrdiff_t{Rows}; ++i) {
            const Lanes x = broadcast(a[i * a_stride + k]);
            for (int j = 0; j < tile_lanes; ++j)
                sums[i][j] = fused(x, b[j], sums[i][j]);
        }
    }
    for (std::ptrdiff_t i = 0; i < std::ptrdiff_t{Rows}; ++i)
        for (int j = 0; j < tile_lanes; ++j) {
            const std::ptrdiff_t left = columns - j * lane_count;
            if (left >= lane_count)
                store(out + i * out_stride + j * lane_count, sums[i][j]);
            else if (left > 0)
                store_first(out + i * out_stride + j * lane_count, left, sums[i][j]);
        }
}

/// Runs tiles of `Rows` rows while they fit, then narrower ones.
template <unsigned Rows>
inline void multiply_rows(const float* a,
                          std::ptrdiff_t a_stride,
                          std::ptrdiff_t rows,
                          std::ptrdiff_t depth,
                          const float* panel,
                          float* out,
                          std::ptrdiff_t out_stride,
                          std::ptrdiff_t columns,
                          int add_to_old) {
    constexpr std::ptrdiff_t height = Rows;
    for (; rows >= height; rows -= height, a += height * a_stride, out += height * out_stride)
        multiply_tile<Rows>(a, a_stride, depth, panel, out, out_stride, columns, add_to_old);
    if constexpr (Rows > 1)
        multiply_rows<Rows / 2>(
            a, a_stride, rows, depth, panel, out, out_stride, columns, add_to_old);
}

void multiply_panel(const float* a,
                    std::ptrdiff_t a_stride,
                    std::ptrdiff_t rows,
                    std::ptrdiff_t depth,
                    const float* panel,
                    float* out,
                    std::ptrdiff_t out_stride,
                    std::ptrdiff_t columns,
                    int add_to_old) {
    constexpr std::ptrdiff_t tile_width = tile_lanes * lane_count;
    for (std::ptrdiff_t j = 0; j < columns; j += tile_width)
        multiply_rows<tile_rows>(
            a, a_stride, rows, depth, panel + j, out + j, out_stride, columns - j, add_to_old);
}

void pack_transposed(const float* rows,
                     std::ptrdiff_t stride,
                     std::ptrdiff_t columns,
                     std::ptrdiff_t depth,
                     float* panel) {
    for (std::ptrdiff_t j = 0; j < panel_width; j += lane_count) {
        const bool whole = columns - j >= lane_count;
        std::ptrdiff_t k = 0;
        for (; whole && k + lane_count <= depth; k += lane_count)
            transpose_block(rows + j * stride + k, stride, panel + k * panel_width + j);
        for (; k < depth; ++k)
            for (std::ptrdiff_t i = j; i < j + lane_count; ++i)
                panel[k * panel_width + i] = i < columns ? rows[i * stride + k] : 0.0f;
    }
}

/// e^x in float32: reduction by ln 2 in two parts, then the Taylor polynomial of degree 7, whose
/// remainder on [-ln 2 / 2, ln 2 / 2] is below 2^-27.
inline Lanes exp_lanes(Lanes x) {
    const Lanes lowest = broadcast(-87.33654f);
    const Lanes highest = broadcast(88.3f);
    const Lanes clamped = smaller(larger(x, lowest), highest);
    const Lanes whole = nearest_integer(multiply(clamped, broadcast(1.44269504088896341f)));
    Lanes r = fused(whole, broadcast(-0.693145751953125f), clamped);
    r = fused(whole, broadcast(-1.42860682030941723e-6f), r);
    Lanes sum = broadcast(1.9841270e-4f);
    sum = fused(sum, r, broadcast(1.3888889e-3f));
    sum = fused(sum, r, broadcast(8.3333333e-3f));
    sum = fused(sum, r, broadcast(4.1666667e-2f));
    sum = fused(sum, r, broadcast(1.6666667e-1f));
    sum = fused(sum, r, broadcast(0.5f));
    sum = fused(multiply(r, r), sum, r);
    const Lanes value = scale(add(sum, broadcast(1.0f)), whole);
    const Lanes bounded =
        where_less(x, lowest, zero(), where_less(highest, x, broadcast(__builtin_inff()), value));
    return where_nan(x, x, bounded);
}

double exp_shifted(float* x, std::ptrdiff_t count, float shift) {
    const Lanes offset = broadcast(shift);
    WideLanes sum = wide_zero();
    std::ptrdiff_t i = 0;
    for (; i + lane_count <= count; i += lane_count) {
        const Lanes value = exp_lanes(subtract(load(x + i), offset));
        store(x + i, value);
        sum = wide_add(sum, value);
    }
    if (i < count) {
        // Lanes behind the end hold -inf and so add e^-inf = 0.
        const Lanes tail = load_first(x + i, count - i, -__builtin_inff());
        const Lanes value = exp_lanes(subtract(tail, offset));
        store_first(x + i, count - i, value);
        float padded[lane_count];
        store(padded, value);
        sum = wide_add(sum, load_first(padded, count - i, 0.0f));
    }
    double lanes[lane_count];
    wide_store(lanes, sum);
    return tree_sum(lanes);
}

float maximum(const float* x, std::ptrdiff_t count) {
    Lanes best = broadcast(-__builtin_inff());
    std::ptrdiff_t i = 0;
    for (; i + lane_count <= count; i += lane_count)
        best = larger(load(x + i), best);
    if (i < count)
        best = larger(load_first(x + i, count - i, -__builtin_inff()), best);
    float lanes[lane_count];
    store(lanes, best);
    for (int lane = 1; lane < lane_count; ++lane)
        lanes[0] = lanes[lane] > lanes[0] ? lanes[lane] : lanes[0];
    return lanes[0];
}

void add_scaled(const float* x, std::ptrdiff_t count, float factor, float* out) {
    const Lanes weight = broadcast(factor);
    std::ptrdiff_t i = 0;
    for (; i + lane_count <= count; i += lane_count)
        store(out + i, fused(weight, load(x + i), load(out + i)));
    if (i < count)
        store_first(
            out + i,
            count - i,
            fused(
                weight, load_first(x + i, count - i, 0.0f), load_first(out + i, count - i, 0.0f)));
}

float dot(const float* a, const float* b, std::ptrdiff_t count) {
    Lanes sum = zero();
    std::ptrdiff_t i = 0;
    for (; i + lane_count <= count; i += lane_count)
        sum = fused(load(a + i), load(b + i), sum);
    if (i < count)
        sum = fused(load_first(a + i, count - i, 0.0f), load_first(b + i, count - i, 0.0f), sum);
    return tree_sum(sum);
}

/// `Groups` vectors of columns, one row after the other.
template <unsigned Groups>
inline void add_scaled_groups(const float* rows,
                              std::ptrdiff_t stride,
                              std::ptrdiff_t count,
                              const float* factors,
                              float* out) {
    Lanes sums[std::size_t{Groups}];
    for (unsigned g = 0; g < Groups; ++g)
        sums[g] = load(out + g * lane_count);
    for (std::ptrdiff_t i = 0; i < count; ++i) {
        const Lanes factor = broadcast(factors[i]);
        for (unsigned g = 0; g < Groups; ++g)
            sums[g] = fused(factor, load(rows + i * stride + g * lane_count), sums[g]);
    }
    for (unsigned g = 0; g < Groups; ++g)
        store(out + g * lane_count, sums[g]);
}

void add_scaled_rows(const float* rows,
                     std::ptrdiff_t stride,
                     std::ptrdiff_t count,
                     std::ptrdiff_t depth,
                     const float* factors,
                     float* out) {
    std::ptrdiff_t j = 0;
    for (; j + range_groups * lane_count <= depth; j += range_groups * lane_count)
        add_scaled_groups<range_groups>(rows + j, stride, count, factors, out + j);
    for (; j + lane_count <= depth; j += lane_count)
        add_scaled_groups<1>(rows + j, stride, count, factors, out + j);
    for (std::ptrdiff_t i = 0; j < depth && i < count; ++i)
        add_scaled(rows + i * stride + j, depth - j, factors[i], out + j);
}

void dots(const float* rows,
          std::ptrdiff_t stride,
          std::ptrdiff_t count,
          std::ptrdiff_t depth,
          const float* vector,
          float* out) {
    for (std::ptrdiff_t i = 0; i < count; ++i)
        out[i] = dot(rows + i * stride, vector, depth);
}

void squared_norms(const float* rows,
                   std::ptrdiff_t stride,
                   std::ptrdiff_t count,
                   std::ptrdiff_t depth,
                   float* out) {
    for (std::ptrdiff_t i = 0; i < count; ++i)
        out[i] = dot(rows + i * stride, rows + i * stride, depth);
}

void inverse_norms(const float* rows,
                   std::ptrdiff_t stride,
                   std::ptrdiff_t count,
                   std::ptrdiff_t depth,
                   float* out) {
    squared_norms(rows, stride, count, depth, out);
    std::ptrdiff_t i = 0;
    for (; i + lane_count <= count; i += lane_count)
        store(out + i, inverse_root(load(out + i)));
    if (i < count)
        store_first(out + i, count - i, inverse_root(load_first(out + i, count - i, 0.0f)));
}

/// Smallest and largest element of `Groups` vectors of columns, one row after the other.
template <unsigned Groups>
inline void range_of_groups(const float* rows,
                            std::ptrdiff_t stride,
                            std::ptrdiff_t count,
                            float* smallest,
                            float* largest) {
    Lanes low[std::size_t{Groups}], high[std::size_t{Groups}];
    for (unsigned g = 0; g < Groups; ++g)
        low[g] = high[g] = load(rows + g * lane_count);
    for (std::ptrdiff_t i = 1; i < count; ++i)
        for (unsigned g = 0; g < Groups; ++g) {
            const Lanes x = load(rows + i * stride + g * lane_count);
            low[g] = smaller(x, low[g]);
            high[g] = larger(x, high[g]);
        }
    for (unsigned g = 0; g < Groups; ++g) {
        store(smallest + g * lane_count, low[g]);
        store(largest + g * lane_count, high[g]);
    }
}

void column_range(const float* rows,
                  std::ptrdiff_t stride,
                  std::ptrdiff_t count,
                  std::ptrdiff_t depth,
                  float* smallest,
                  float* largest) {
    std::ptrdiff_t j = 0;
    for (; j + range_groups * lane_count <= depth; j += range_groups * lane_count)
        range_of_groups<range_groups>(rows + j, stride, count, smallest + j, largest + j);
    for (; j + lane_count <= depth; j += lane_count)
        range_of_groups<1>(rows + j, stride, count, smallest + j, largest + j);
    for (; j < depth; ++j) {
        smallest[j] = largest[j] = rows[j];
        for (std::ptrdiff_t i = 1; i < count; ++i) {
            const float x = rows[i * stride + j];
            smallest[j] = x < smallest[j] ? x : smallest[j];
            largest[j] = x > largest[j] ? x : largest[j];
        }
    }
}

/// (x - offset) * factor + shift of the first `count` lanes, zero behind them.
inline Lanes rescaled_first(
    const float* row, const float* offset, const float* factor, Lanes shift, std::ptrdiff_t count) {
    float padded[lane_count];
    store(padded,
          fused(subtract(load_first(row, count, 0.0f), load_first(offset, count, 0.0f)),
                load_first(factor, count, 0.0f),
                shift));
    return load_first(padded, count, 0.0f);
}

/// Of `Rows` rescaled rows, shifted: their sums and their sums of squares, in one pass. Several
/// rows at a time, because one sum alone would wait for itself.
template <unsigned Rows>
inline void moments_of_rows(const float* rows,
                            std::ptrdiff_t stride,
                            std::ptrdiff_t depth,
                            const float* offset,
                            const float* factor,
                            float shift,
                            float* sum,
                            float* square) {
    const Lanes shifts = broadcast(shift);
    Lanes sums[std::size_t{Rows}], squares[std::size_t{Rows}];
    for (unsigned i = 0; i < Rows; ++i)
        sums[i] = squares[i] = zero();
    std::ptrdiff_t j = 0;
    for (; j + lane_count <= depth; j += lane_count) {
        const Lanes low = load(offset + j), scale = load(factor + j);
        for (unsigned i = 0; i < Rows; ++i) {
            const Lanes x = fused(subtract(load(rows + i * stride + j), low), scale, shifts);
            sums[i] = add(sums[i], x);
            squares[i] = fused(x, x, squares[i]);
        }
    }
    for (unsigned i = 0; j < depth && i < Rows; ++i) {
        const Lanes x =
            rescaled_first(rows + i * stride + j, offset + j, factor + j, shifts, depth - j);
        sums[i] = add(sums[i], x);
        squares[i] = fused(x, x, squares[i]);
    }
    for (unsigned i = 0; i < Rows; ++i) {
        sum[i] = tree_sum(sums[i]);
        square[i] = tree_sum(squares[i]);
    }
}

/// The moments are taken around the middle of the rescaled range. A row that lies so far off that
/// its mean would swallow its deviations is done again around that mean.
template <unsigned Rows>
inline void deviations_of_rows(const float* rows,
                               std::ptrdiff_t stride,
                               std::ptrdiff_t depth,
                               const float* offset,
                               const float* factor,
                               float* out) {
    constexpr float middle = 0.5f;
    constexpr float far = 16.0f;
    const float share = 1.0f / static_cast<float>(depth);
    float sum[std::size_t{Rows}];
    moments_of_rows<Rows>(rows, stride, depth, offset, factor, -middle, sum, out);
    for (unsigned i = 0; i < Rows; ++i) {
        const float mean = sum[i] * share;
        out[i] -= sum[i] * mean;
        if (sum[i] * mean > far * out[i]) {
            moments_of_rows<1>(
                rows + i * stride, stride, depth, offset, factor, -middle - mean, sum + i, out + i);
            out[i] -= sum[i] * (sum[i] * share);
        }
        out[i] = out[i] < 0.0f ? 0.0f : out[i];
    }
}

void squared_deviations(const float* rows,
                        std::ptrdiff_t stride,
                        std::ptrdiff_t count,
                        std::ptrdiff_t depth,
                        const float* offset,
                        const float* factor,
                        float* out) {
    std::ptrdiff_t i = 0;
    for (; i + 4 <= count; i += 4)
        deviations_of_rows<4>(rows + i * stride, stride, depth, offset, factor, out + i);
    for (; i < count; ++i)
        deviations_of_rows<1>(rows + i * stride, stride, depth, offset, factor, out + i);
}

std::ptrdiff_t copy_below(const std::int32_t* places,
                          std::int32_t limit,
                          const std::int32_t* from,
                          std::ptrdiff_t count,
                          std::int32_t* out,
                          std::ptrdiff_t room) {
    std::ptrdiff_t i = 0, used = 0;
    for (; i + lane_count <= count && used + lane_count <= room; i += lane_count)
        used += copy_lanes_below(places + i, limit, from + i, out + used);
    // All lanes are written, wanted or not: close to the end they go elsewhere first.
    for (; i + lane_count <= count; i += lane_count) {
        std::int32_t lanes[lane_count];
        const std::ptrdiff_t found = copy_lanes_below(places + i, limit, from + i, lanes);
        if (found > room - used)
            return room + 1;
        for (std::ptrdiff_t lane = 0; lane < found; ++lane)
            out[used + lane] = lanes[lane];
        used += found;
    }
    for (; i < count; ++i)
        if (places[i] < limit) {
            if (used == room)
                return room + 1;
            out[used++] = from[i];
        }
    return used;
}

constexpr KernelTable make_table() {
    return {multiply_panel,
            pack_transposed,
            exp_shifted,
            maximum,
            add_scaled,
            dot,
            add_scaled_rows,
            dots,
            squared_norms,
            inverse_norms,
            column_range,
            squared_deviations,
            copy_below};
}
