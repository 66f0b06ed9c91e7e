// Losses, one warp per example: its loss, dL/dscores, and whether its highest score is that of its
// label. The last block adds them up: result = (loss, data loss, accuracy). If the loss is not
// finite, `alive` becomes 0 and later kernels change nothing.

struct Softmax {  // a: label smoothing
    double a;
    __device__ REAL example(const REAL* s, REAL* ds, int label, int classes, int batch) const {
        int lane = threadIdx.x % WARP;
        REAL most = -INFINITE, sum = 0, loss = 0;
        for (int j = lane; j < classes; j += WARP) most = larger(most, s[j]);
        most = over_warp(most, Larger());
        for (int j = lane; j < classes; j += WARP) sum += exp(s[j] - most);
        sum = over_warp(sum, Sum());
        REAL log_sum = log(sum);
        for (int j = lane; j < classes; j += WARP) {
            REAL target = REAL(j == label) * REAL(1 - a) + REAL(a / classes);
            loss -= (s[j] - most - log_sum) * target;
            ds[j] = (exp(s[j] - most) / sum - target) / batch;
        }
        return over_warp(loss, Sum());
    }
};

struct Hinge {  // a: margin
    double a;
    __device__ REAL example(const REAL* s, REAL* ds, int label, int classes, int batch) const {
        int lane = threadIdx.x % WARP;
        REAL loss = 0, above = 0;
        for (int j = lane; j < classes; j += WARP) {
            REAL hinge = j == label ? REAL(0) : larger(s[j] - s[label] + REAL(a), REAL(0));
            REAL sign = hinge > 0 ? REAL(1) : hinge;
            loss += hinge;
            above += sign;
            ds[j] = sign / batch;
        }
        above = over_warp(above, Sum());
        if (label % WARP == lane) ds[label] = -above / batch;
        return over_warp(loss, Sum());
    }
};

struct SquaredError {
    double a;
    __device__ REAL example(const REAL* s, REAL* ds, int label, int classes, int batch) const {
        REAL loss = 0;
        for (int j = threadIdx.x % WARP; j < classes; j += WARP) {
            REAL error = s[j] - REAL(j == label);
            loss += error * error;
            ds[j] = error * REAL(2.0 / ((double)batch * classes));
        }
        return over_warp(loss, Sum()) / classes;
    }
};

// Position of the highest score: the first of equal scores, and of a NaN if there is one.
__device__ int highest(const REAL* s, int classes) {
    int at = threadIdx.x % WARP;
    REAL most = at < classes ? s[at] : REAL(-INFINITE);
    for (int j = at + WARP; j < classes; j += WARP)
        if (s[j] > most || (s[j] != s[j] && most == most)) most = s[at = j];
    for (int lane = WARP / 2; lane > 0; lane /= 2) {
        REAL other = __shfl_xor_sync(ALL_LANES, most, lane);
        int place = __shfl_xor_sync(ALL_LANES, at, lane);
        bool equal = other == most || (other != other && most != most);
        if (equal ? place < at : other > most || other != other) {
            most = other;
            at = place;
        }
    }
    return at;
}

// `partial` is (2, blocks): the loss and the number of correct predictions of each block.
template <class F>
__device__ void loss(F f, const REAL* scores, const long long* labels, REAL* dscores,
                     double* partial, int* arrived, double* result, int* alive, int batch,
                     int classes) {
    double sum = 0, right = 0;
    int example = blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP;
    if (example < batch) {
        const REAL* s = scores + (long long)example * classes;
        int label = (int)labels[example];
        double of_example = f.example(s, dscores + (s - scores), label, classes, batch);
        bool hit = highest(s, classes) == label;
        if (threadIdx.x % WARP == 0) {
            sum = of_example;
            right = hit;
        }
    }
    sum = over_block(sum, Sum());
    right = over_block(right, Sum());
    if (threadIdx.x == 0) {
        partial[blockIdx.x] = sum;
        partial[gridDim.x + blockIdx.x] = right;
    }
    if (!is_last(arrived, gridDim.x)) return;
    sum = right = 0;
    for (int i = threadIdx.x; i < gridDim.x; i += THREADS) {
        sum += ((volatile double*)partial)[i];
        right += ((volatile double*)partial)[gridDim.x + i];
    }
    sum = over_block(sum, Sum()) / batch;
    right = over_block(right, Sum()) / batch;
    if (threadIdx.x > 0) return;
    result[0] = result[1] = sum;
    result[2] = right;
    if (!is_finite(sum)) *alive = 0;
}

#define LOSS(name, F)                                                                              \
    extern "C" __global__ void name(const REAL* scores, const long long* labels, REAL* dscores,    \
                                    double* partial, int* arrived, double* result, int* alive,     \
                                    int batch, int classes, double a) {                            \
        loss(F{a}, scores, labels, dscores, partial, arrived, result, alive, batch, classes);      \
    }

LOSS(softmax_cross_entropy, Softmax)
LOSS(multiclass_svm, Hinge)
LOSS(mean_squared_error, SquaredError)

// ½ λ ‖W‖² + λ₁ Σ|W| over all that decays: added to the loss, its gradient to the gradients.
extern "C" __global__ void penalty(const REAL* values, REAL* gradients, const double* scalars,
                                   double* partial, int* arrived, double* result, int* alive,
                                   int size) {
    REAL decay = scalars[WEIGHT_DECAY], lasso = scalars[L1];
    double sum = 0;
    for (int i = blockIdx.x * THREADS + threadIdx.x; i < size; i += gridDim.x * THREADS) {
        REAL w = values[i], sign = w > 0 ? REAL(1) : w < 0 ? REAL(-1) : w;
        if (decay != 0) gradients[i] += w * decay;
        if (lasso != 0) gradients[i] += sign * lasso;
        sum += 0.5 * scalars[WEIGHT_DECAY] * w * w + scalars[L1] * sign * w;
    }
    if (!over_grid(&sum, partial, arrived) || threadIdx.x > 0) return;
    result[0] = result[1] + sum;
    if (!is_finite(result[0])) *alive = 0;
}
