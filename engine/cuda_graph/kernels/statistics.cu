// The statistics of all tensors of all layers in three launches: `moments`, then `histograms`, whose
// ranges follow from the moments, and `unit_statistics`.
//
// A tensor is a row of `tensors` (n, 7): a, b, count, stride, samples, first part, parts. Its values
// are a[i], or a[i] − b[i] if b is given. `bounds` (n, 4): the lowest and highest possible value, and
// the limits beyond which a value is saturated; NaN where there is none.
// A block works on one part of PART elements, `parts` (blocks, 2): tensor, number of the part.

#define PART 8192
#define MOMENTS 7  // of a part: finite values, mean, m2, min, max, zeros, saturated
#define FIELDS 8   // of a tensor, as engine.statistics.frames names them
#define BINS 64
#define WIDTH_IN_RMS 2.5

const int AT_ONCE = 8;  // values that a thread reads before it uses them

struct Moments {
    double n, mean, m2;
};

// Chan et al. (1979).
__device__ Moments merged(Moments p, Moments q) {
    double n = p.n + q.n, shift = q.mean - p.mean;
    if (q.n == 0) return p;
    if (p.n == 0) return q;
    return Moments{n, p.mean + shift * (q.n / n), p.m2 + q.m2 + shift * shift * (p.n * q.n / n)};
}

__device__ REAL value_at(const long long* tensor, long long i) {
    const REAL *a = (const REAL*)tensor[0], *b = (const REAL*)tensor[1];
    return b ? a[i] - b[i] : a[i];
}

// The values for AT_ONCE iterations of a thread: these reads do not wait for each other.
__device__ void values_from(const long long* tensor, long long start, long long stride,
                            long long end, REAL* values) {
    const REAL *a = (const REAL*)tensor[0], *b = (const REAL*)tensor[1];
#pragma unroll
    for (int k = 0; k < AT_ONCE; ++k) {
        long long i = start + k * THREADS;
        values[k] = i < end ? a[i * stride] : REAL(0);
    }
    if (!b) return;
#pragma unroll
    for (int k = 0; k < AT_ONCE; ++k) {
        long long i = start + k * THREADS;
        if (i < end) values[k] -= b[i * stride];
    }
}

// Sums are of differences from the part's first value, in float64, so that neither a large mean nor
// the range of float32 affects the variance.
extern "C" __global__ void moments(const long long* tensors, const double* bounds, const int* parts,
                                   double* partial, long long* histogram) {
    int at = parts[2 * blockIdx.x], part = parts[2 * blockIdx.x + 1];
    const long long* tensor = tensors + 7 * at;
    REAL low = bounds[4 * at + 2], high = bounds[4 * at + 3];
    long long begin = (long long)part * PART, end = begin + PART;
    if (end > tensor[2]) end = tensor[2];
    if (part == 0)
        for (int bin = threadIdx.x; bin < BINS + 2; bin += THREADS)
            histogram[(BINS + 2) * at + bin] = 0;
    double first = value_at(tensor, begin);
    if (!is_finite(first)) first = 0;
    // Whatever REAL and int represent exactly is counted in them: float64 limits this kernel's speed.
    double sum = 0, squares = 0;
    int n = 0, zeros = 0, saturated = 0;
    REAL least = INFINITE, most = -INFINITE;
    for (long long start = begin + threadIdx.x; start < end; start += THREADS * AT_ONCE) {
        REAL values[AT_ONCE];
        values_from(tensor, start, 1, end, values);
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k) {
            if (start + k * THREADS >= end) continue;
            REAL v = values[k];
            least = smaller(least, v);
            most = larger(most, v);
            zeros += v == 0;
            saturated += v <= low || v >= high;
            if (is_finite(v)) {
                double shifted = v - first;
                n += 1;
                sum += shifted;
                squares += shifted * shifted;
            }
        }
    }
    __shared__ double of_warp[THREADS / WARP][MOMENTS];
    double all[MOMENTS] = {double(over_warp(n, Sum())),        over_warp(sum, Sum()),
                           over_warp(squares, Sum()),          over_warp(least, Smaller()),
                           over_warp(most, Larger()),          double(over_warp(zeros, Sum())),
                           double(over_warp(saturated, Sum()))};
    if (threadIdx.x % WARP == 0)
        for (int k = 0; k < MOMENTS; ++k) of_warp[threadIdx.x / WARP][k] = all[k];
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (int warp = 1; warp < THREADS / WARP; ++warp)
        for (int k = 0; k < MOMENTS; ++k) {
            double v = of_warp[warp][k];
            all[k] = k == 3 ? smaller(all[k], v) : k == 4 ? larger(all[k], v) : all[k] + v;
        }
    double* out = partial + (long long)MOMENTS * blockIdx.x;
    double shift = all[0] > 0 ? all[1] / all[0] : 0;
    out[0] = all[0];
    out[1] = first + shift;
    out[2] = larger(all[2] - all[0] * shift * shift, 0.0);
    for (int k = 3; k < MOMENTS; ++k) out[k] = all[k];
}

// Combine the parts of a tensor: fill `row` (FIELDS), and return the root mean square of the finite
// values. Run by the first warp of a block; its lane 0 has the result.
__device__ double combine(const long long* tensor, const double* partial, double* row) {
    int lane = threadIdx.x;
    Moments m = {0, 0, 0};
    double least = INFINITE, most = -INFINITE, zeros = 0, saturated = 0;
    for (long long part = lane; part < tensor[6]; part += WARP) {
        const double* p = partial + MOMENTS * (tensor[5] + part);
        m = merged(m, Moments{p[0], p[1], p[2]});
        least = smaller(least, p[3]);
        most = larger(most, p[4]);
        zeros += p[5];
        saturated += p[6];
    }
    for (int other = WARP / 2; other > 0; other /= 2) {
        Moments q = {__shfl_xor_sync(ALL_LANES, m.n, other),
                     __shfl_xor_sync(ALL_LANES, m.mean, other),
                     __shfl_xor_sync(ALL_LANES, m.m2, other)};
        m = merged(m, q);
    }
    least = over_warp(least, Smaller());
    most = over_warp(most, Larger());
    zeros = over_warp(zeros, Sum());
    saturated = over_warp(saturated, Sum());
    double count = tensor[2], std = m.n > 0 && least != most ? sqrt(m.m2 / m.n) : 0;
    bool whole = m.n == count;
    row[0] = count;
    row[1] = whole ? m.mean : least + most;  // infinite or NaN, as the sum would be
    row[2] = whole ? std : NOT_A_NUMBER;
    row[3] = least;
    row[4] = most;
    row[5] = zeros / count;
    row[6] = saturated / count;
    row[7] = count - m.n;
    return m.n > 0 ? hypot(m.mean, std) : 0;
}

// The smallest power of two that is not below x, within 2^±120; 1 for a signal that is all zeros.
__device__ double power_above(double x) {
    if (!(x > 0) || !is_finite(x)) return 1;
    int exponent;
    if (frexp(x, &exponent) == 0.5) exponent -= 1;
    return ldexp(1.0, min(max(exponent, -120), 120));
}

// Counts below, in BINS equal bins, and above. `table` (n, FIELDS), `ranges` (n, 2),
// `histogram` (n, 1 + BINS + 1). Every `stride`-th value of a large tensor is counted.
extern "C" __global__ void histograms(const long long* tensors, const double* bounds,
                                      const int* parts, const double* partial, double* table,
                                      double* ranges, long long* histogram) {
    __shared__ double range[2];
    __shared__ int counts[BINS + 2];
    int at = parts[2 * blockIdx.x], part = parts[2 * blockIdx.x + 1];
    const long long* tensor = tensors + 7 * at;
    double natural_low = bounds[4 * at], natural_high = bounds[4 * at + 1];
    if (threadIdx.x < WARP) {
        double row[FIELDS];
        double power = power_above(WIDTH_IN_RMS * combine(tensor, partial, row));
        if (threadIdx.x == 0) {
            range[0] = natural_low == natural_low ? natural_low : -power;
            range[1] = natural_high == natural_high ? natural_high : power;
            for (int k = 0; part == 0 && k < FIELDS; ++k) table[FIELDS * at + k] = row[k];
            for (int k = 0; part == 0 && k < 2; ++k) ranges[2 * at + k] = range[k];
        }
    }
    for (int bin = threadIdx.x; bin < BINS + 2; bin += THREADS) counts[bin] = 0;
    __syncthreads();
    // A value exactly on a natural bound (tanh at 1) belongs in the last bin, not above it.
    REAL ceiling = BINS + 1 - (natural_high == natural_high ? 0.5 : 0.0);
    REAL scale = BINS / (range[1] - range[0]), first = 1 - REAL(range[0]) * scale;
    long long end = (long long)(part + 1) * PART;
    if (end > tensor[4]) end = tensor[4];
    long long begin = (long long)part * PART + threadIdx.x;
    for (long long start = begin; start < end; start += THREADS * AT_ONCE) {
        REAL values[AT_ONCE];
        values_from(tensor, start, tensor[3], end, values);
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k)
            if (start + k * THREADS < end && is_finite(values[k])) {
                REAL bin = values[k] * scale + first;
                atomicAdd(&counts[(int)smaller(larger(bin, REAL(0)), ceiling)], 1);
            }
    }
    __syncthreads();
    for (int bin = threadIdx.x; bin < BINS + 2; bin += THREADS)
        if (counts[bin])
            atomicAdd((unsigned long long*)&histogram[(BINS + 2) * at + bin],
                      (unsigned long long)counts[bin]);
}

// A part and its whole: ‖W − mean over units‖² and ‖W‖² of some rows of a weight, or the number of
// (example, unit) pairs of an affine layer whose weight gradient has one sign, and the number of
// pairs that have a gradient at all.
// `jobs` (blocks, 7): kind, a, columns of a, b, columns of b, row stride, rows. One warp per row.
extern "C" __global__ void unit_statistics(const long long* jobs, double* out) {
    const long long* job = jobs + 7 * blockIdx.x;
    const REAL *a = (const REAL*)job[1], *b = (const REAL*)job[3];
    int lane = threadIdx.x % WARP;
    double first = 0, second = 0;
    for (long long k = threadIdx.x / WARP; k < job[6]; k += THREADS / WARP) {
        const REAL* x = a + k * job[5] * job[2];
        if (job[0] == 0) {
            double squares = 0, sum = 0, differences = 0;
            for (long long j = lane; j < job[2]; j += WARP) {
                double w = x[j], d = w - (double)x[0];  // all differences of equal units are 0
                squares += w * w;
                sum += d;
                differences += d * d;
            }
            sum = over_warp(sum, Sum());
            first += over_warp(differences, Sum()) - sum * sum / job[2];
            second += over_warp(squares, Sum());
        } else {
            const REAL* dz = b + k * job[5] * job[4];
            REAL least = INFINITE, most = -INFINITE;
            double pairs = 0;
            for (long long j = lane; j < job[2]; j += WARP) {
                least = smaller(least, x[j]);
                most = larger(most, x[j]);
            }
            for (long long j = lane; j < job[4]; j += WARP) pairs += dz[j] != 0;
            least = over_warp(least, Smaller());
            most = over_warp(most, Larger());
            pairs = over_warp(pairs, Sum());
            if ((least >= 0 && most > 0) || (most <= 0 && least < 0)) first += pairs;
            second += pairs;
        }
    }
    first = over_block(lane == 0 ? first : 0, Sum());
    second = over_block(lane == 0 ? second : 0, Sum());
    if (threadIdx.x > 0) return;
    out[2 * blockIdx.x] = first;
    out[2 * blockIdx.x + 1] = second;
}
