// The statistics of tensors: the moments of each, and from these the range of its histogram.
//
// A tensor is a row of `tensors` (n, 5): a, b, count, stride, samples. Its values are a[i], or
// a[i] − b[i] if b is given. `bounds` (n, 4): the lowest and highest possible value, and the limits
// beyond which a value is saturated; NaN where there is none. The host defines FIELDS, BINS and
// WIDTH_IN_RMS, as in engine.statistics.frames.

#define TENSOR 5
#define BLOCK 4096   // values that stay in the first-level cache
#define LANES 64     // values compared side by side
#define TABLES 4     // of counts: neighbours in the same bin do not wait for each other
#define SHORT 256
#define SMALLEST 1e-150  // the squares of smaller values vanish, which only float64 has

struct range {
    REAL least, most;
};

struct moments {
    double count, mean, m2, zeros, saturated;
    struct range range;
};

// The minimum and maximum of `size` values. By lanes, because not every compiler vectorises such a
// reduction.
static struct range range_of(const REAL *restrict v, length size) {
    REAL least[LANES], most[LANES];
    struct range found = {v[0], v[0]};
    const length whole = size - size % LANES;
    for (int k = 0; k < LANES; ++k) least[k] = most[k] = v[0];
    for (length i = 0; i < whole; i += LANES)
        SIMD for (int k = 0; k < LANES; ++k) {
            least[k] = v[i + k] < least[k] ? v[i + k] : least[k];
            most[k] = v[i + k] > most[k] ? v[i + k] : most[k];
        }
    for (int k = 0; k < LANES; ++k) {
        found.least = least[k] < found.least ? least[k] : found.least;
        found.most = most[k] > found.most ? most[k] : found.most;
    }
    for (length i = whole; i < size; ++i) {
        found.least = v[i] < found.least ? v[i] : found.least;
        found.most = v[i] > found.most ? v[i] : found.most;
    }
    return found;
}

// Add `size` values, at most BLOCK. Sums are of differences from the first value, which is at most
// √size standard deviations from the mean, so float64 is precise enough. A value that is not finite
// makes the mean not finite.
static void take_in(struct moments *m, const REAL *restrict v, length size, REAL low, REAL high) {
    double sum = 0, squares = 0;
    int32_t zeros = 0, saturated = 0;
    const struct range range = range_of(v, size);
    const double first = v[0];
#pragma omp simd reduction(+ : sum, squares, zeros)
    for (length i = 0; i < size; ++i) {
        const double d = v[i] - first;
        sum += d;
        squares += d * d;
        zeros += v[i] == 0;
    }
    if (low == low)
#pragma omp simd reduction(+ : saturated)
        for (length i = 0; i < size; ++i) saturated += (v[i] <= low) | (v[i] >= high);
    const double count = m->count + size, mean = sum / size, shift = first + mean - m->mean;
    m->m2 += squares - sum * mean + shift * shift * (m->count * size / count);  // Chan et al. (1979)
    m->mean += shift * (size / count);
    m->count = count;
    m->zeros += zeros;
    m->saturated += saturated;
    if (range.least < m->range.least) m->range.least = range.least;
    if (range.most > m->range.most) m->range.most = range.most;
}

// The smallest power of two that is not below x, within 2^±120; 1 for a signal that is all zeros.
static double power_above(double x) {
    int exponent;
    if (!(x > 0)) return 1;
    if (frexp(x, &exponent) == 0.5) exponent -= 1;
    return ldexp(1, exponent < -120 ? -120 : exponent > 120 ? 120 : exponent);
}

static void count(int32_t (*counts)[BINS + 2], const REAL *restrict v, length size, REAL scale,
                  REAL first, REAL ceiling) {
    int32_t bins[SHORT];
    SIMD for (length i = 0; i < size; ++i) {
        REAL bin = v[i] * scale + first;
        bin = bin > 0 ? bin : 0;
        bins[i] = (int32_t)(bin < ceiling ? bin : ceiling);
    }
    const length whole = size - size % TABLES;
    for (length i = 0; i < whole; i += TABLES)
        for (int k = 0; k < TABLES; ++k) ++counts[k][bins[i + k]];
    for (length i = whole; i < size; ++i) ++counts[0][bins[i]];
}

// Measure the tensors from `begin` to before `end`: fill `table` (n, FIELDS), `ranges` (n, 2) and
// `histograms` (n, 1 + BINS + 1: below, the bins, above). `left` (n,) becomes 1 for a tensor with
// values that are not finite, or too large or too small to be squared: its rows are not valid then.
KERNEL void measure(const int64_t *restrict tensors, const double *restrict bounds,
                    double *restrict table, double *restrict ranges, int64_t *restrict histograms,
                    uint8_t *restrict left, length begin, length end) {
    REAL values[BLOCK];
    for (length at = begin; at < end; ++at) {
        const int64_t *tensor = tensors + TENSOR * at;
        const REAL *a = (const REAL *)(intptr_t)tensor[0], *b = (const REAL *)(intptr_t)tensor[1];
        const length size = tensor[2], stride = tensor[3], samples = tensor[4];
        const double *bound = bounds + 4 * at;
        struct moments m = {.range = {INFINITY, -INFINITY}};
        for (length from = 0; from < size; from += BLOCK) {
            const length part = at_most(BLOCK, size - from);
            const REAL *v = a + from;
            if (b) {
                SIMD for (length i = 0; i < part; ++i) values[i] = a[from + i] - b[from + i];
                v = values;
            }
            take_in(&m, v, part, bound[2], bound[3]);
        }
        const double std = m.range.least == m.range.most ? 0 : sqrt(m.m2 / m.count);
        const double rms = hypot(m.mean, std);
        const double largest = fmax(-m.range.least, m.range.most);
        left[at] = !(rms - rms == 0) || (m.range.least != m.range.most && largest < SMALLEST);
        if (left[at]) continue;
        const double row[FIELDS] = {m.count, m.mean, std, m.range.least, m.range.most,
                                    m.zeros / m.count, m.saturated / m.count, 0};
        memcpy(table + FIELDS * at, row, sizeof row);
        const double power = power_above(WIDTH_IN_RMS * rms);
        const double low = bound[0] == bound[0] ? bound[0] : -power;
        const double high = bound[1] == bound[1] ? bound[1] : power;
        ranges[2 * at] = low;
        ranges[2 * at + 1] = high;
        // A value exactly on a natural bound (tanh at 1) belongs in the last bin, not above it.
        const REAL ceiling = BINS + 1 - (bound[1] == bound[1] ? 0.5 : 0);
        const double scale = BINS / (high - low), first = 1 - low * scale;
        int32_t counts[TABLES][BINS + 2] = {{0}};
        for (length from = 0; from < samples; from += SHORT) {
            const length part = at_most(SHORT, samples - from);
            for (length i = 0; i < part; ++i) {
                const length place = (from + i) * stride;
                values[i] = b ? a[place] - b[place] : a[place];
            }
            count(counts, values, part, scale, first, ceiling);
        }
        int64_t *histogram = histograms + (BINS + 2) * at;
        for (int bin = 0; bin < BINS + 2; ++bin) {
            histogram[bin] = 0;
            for (int k = 0; k < TABLES; ++k) histogram[bin] += counts[k][bin];
        }
    }
}

// highest = infinity for each column of x (rows, columns) that rises above `floor` or is NaN.
// Returns whether all have risen, now or earlier.
KERNEL int64_t rise(REAL *restrict highest, const REAL *restrict x, length rows, length columns,
                    double floor) {
    const REAL lowest = floor;
    int32_t above = 0;
    for (length i = 0; i < rows; ++i, x += columns)
        SIMD for (length j = 0; j < columns; ++j)
            highest[j] = x[j] <= lowest ? highest[j] : (REAL)INFINITY;
#pragma omp simd reduction(+ : above)
    for (length j = 0; j < columns; ++j) above += highest[j] > lowest;
    return above == columns;
}

// For each unit, over the rows of x (rows, units), `stride` values apart: its mean, and the shares of
// rows in which it is above `floor` and in which it is saturated.
KERNEL void units(REAL *restrict mean, double *restrict active, double *restrict saturated,
                  double floor, double low, double high, length rows, length columns,
                  length stride, const REAL *restrict x) {
    const REAL silent = floor, least = low, most = high;
    for (length first = 0; first < columns; first += SHORT) {
        const length width = at_most(SHORT, columns - first);
        double sum[SHORT] = {0};
        int32_t above[SHORT] = {0}, flat[SHORT] = {0};
        for (length i = 0; i < rows; ++i) {
            const REAL *v = x + i * stride + first;
            SIMD for (length j = 0; j < width; ++j) {
                sum[j] += v[j];
                above[j] += v[j] > silent;
                flat[j] += (v[j] <= least) | (v[j] >= most);
            }
        }
        for (length j = 0; j < width; ++j) {
            mean[first + j] = sum[j] / rows;
            active[first + j] = (double)above[j] / rows;
            saturated[first + j] = (double)flat[j] / rows;
        }
    }
}

// ‖W − mean over units‖ / ‖W‖ of rows of a weight, `stride` values apart; NaN if ‖W‖ is 0.
KERNEL double asymmetry(length rows, length columns, length stride, const REAL *restrict weight) {
    double whole = 0, spread = 0;
    for (length i = 0; i < rows; ++i, weight += stride) {
        double squares = 0, sum = 0, differences = 0;
        const double first = weight[0];  // all differences of equal units are 0
#pragma omp simd reduction(+ : squares, sum, differences)
        for (length j = 0; j < columns; ++j) {
            const double w = weight[j], d = w - first;
            squares += w * w;
            sum += d;
            differences += d * d;
        }
        whole += squares;
        spread += differences - sum * sum / columns;
    }
    const int measurable = whole > 1e-250 && whole < 1e250;  // otherwise squares overflow or vanish
    return measurable ? sqrt((spread > 0 ? spread : 0) / whole) : NAN;
}

// Share of (example, unit) pairs whose weight gradient has one sign, of the inputs x (rows, inputs)
// of an affine layer and dL/dz (rows, units) of its output; NaN if there are none.
KERNEL double one_signed(length rows, length columns, length gradient_stride,
                         const REAL *restrict dz, length inputs, length stride,
                         const REAL *restrict x) {
    int64_t all = 0, signed_alike = 0;
    for (length i = 0; i < rows; ++i, x += stride, dz += gradient_stride) {
        const struct range range = range_of(x, inputs);
        int32_t pairs = 0, broken = 0;
#pragma omp simd reduction(+ : broken)
        for (length j = 0; j < inputs; ++j) broken += x[j] != x[j];
#pragma omp simd reduction(+ : pairs)
        for (length j = 0; j < columns; ++j) pairs += dz[j] != 0;
        all += pairs;
        const int above = range.least >= 0 && range.most > 0;
        const int below = range.most <= 0 && range.least < 0;
        if (!broken && (above || below)) signed_alike += pairs;
    }
    return all ? (double)signed_alike / all : NAN;
}
