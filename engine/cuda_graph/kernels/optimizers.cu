// Optimisers: one pass over the flat vector of parameters. `scalars` has the values that depend on
// the step. Nothing changes once a loss was not finite (`alive` = 0).

// An element of the gradient, clipped to ±limit; 0: no limit.
__device__ REAL clipped(REAL g, REAL limit) {
    return limit > 0 ? smaller(larger(g, -limit), limit) : g;
}

// factor ← limit / norm of the whole (elementwise clipped) gradient, or 1 if that is larger.
extern "C" __global__ void clip_norm(const REAL* gradients, const double* scalars, double* partial,
                                     int* arrived, double* factor, int size) {
    REAL limit = scalars[CLIP_VALUE];
    double sum = 0;
    for (int i = blockIdx.x * THREADS + threadIdx.x; i < size; i += gridDim.x * THREADS) {
        double g = clipped(gradients[i], limit);
        sum += g * g;
    }
    if (!over_grid(&sum, partial, arrived) || threadIdx.x > 0) return;
    double norm = sqrt(sum) + 1e-6;
    *factor = norm > scalars[CLIP_NORM] ? scalars[CLIP_NORM] / norm : 1;
}

// Loop over the parameters; GRADIENT is the clipped gradient of the current one.
#define EACH_PARAMETER                                                                             \
    if (!*alive) return;                                                                           \
    REAL limit = scalars[CLIP_VALUE], down = *factor, rate = scalars[RATE];                        \
    for (int i = blockIdx.x * THREADS + threadIdx.x; i < size; i += gridDim.x * THREADS)

#define GRADIENT (clipped(gradients[i], limit) * down)

extern "C" __global__ void sgd(REAL* values, const REAL* gradients, REAL* velocity,
                               const double* scalars, const double* factor, const int* alive,
                               int size) {
    REAL momentum = scalars[MOMENTUM];
    EACH_PARAMETER {
        REAL v = velocity[i] * momentum + GRADIENT;
        velocity[i] = v;
        values[i] -= v * rate;
    }
}

extern "C" __global__ void nesterov(REAL* values, const REAL* gradients, REAL* velocity,
                                    const double* scalars, const double* factor, const int* alive,
                                    int size) {
    REAL momentum = scalars[MOMENTUM];
    EACH_PARAMETER {
        REAL g = GRADIENT, v = velocity[i] * momentum + g;
        velocity[i] = v;
        values[i] -= (v * momentum + g) * rate;
    }
}

extern "C" __global__ void adagrad(REAL* values, const REAL* gradients, REAL* squares,
                                   const double* scalars, const double* factor, const int* alive,
                                   int size) {
    REAL epsilon = scalars[EPSILON];
    EACH_PARAMETER {
        REAL g = GRADIENT, s = squares[i] + g * g;
        squares[i] = s;
        values[i] -= g / (sqrt(s) + epsilon) * rate;
    }
}

extern "C" __global__ void rmsprop(REAL* values, const REAL* gradients, REAL* squares,
                                   REAL* velocity, const double* scalars, const double* factor,
                                   const int* alive, int size) {
    REAL momentum = scalars[MOMENTUM], epsilon = scalars[EPSILON];
    REAL keep = scalars[ALPHA], take = 1 - scalars[ALPHA];
    EACH_PARAMETER {
        REAL g = GRADIENT, s = squares[i] * keep + g * g * take;
        REAL v = velocity[i] * momentum + g / (sqrt(s) + epsilon);
        squares[i] = s;
        velocity[i] = v;
        values[i] -= v * rate;
    }
}

// RATE is already divided by 1 − β₁ᵗ, ROOT is √(1 − β₂ᵗ), SHRINK the factor of decaying weights.
extern "C" __global__ void adam(REAL* values, const REAL* gradients, REAL* mean, REAL* squares,
                                const double* scalars, const double* factor, const int* alive,
                                int size, int decaying) {
    REAL take1 = 1 - scalars[BETA1], keep2 = scalars[BETA2], take2 = 1 - scalars[BETA2];
    REAL root = scalars[ROOT], epsilon = scalars[EPSILON], shrink = scalars[SHRINK];
    EACH_PARAMETER {
        REAL g = GRADIENT, w = i < decaying ? values[i] * shrink : values[i];
        REAL m = mean[i] + (g - mean[i]) * take1, s = squares[i] * keep2 + g * g * take2;
        mean[i] = m;
        squares[i] = s;
        values[i] = w - m / (sqrt(s) / root + epsilon) * rate;
    }
}

// Scale the incoming weights of each unit down to the limit: `weight` (inputs, units).
// Grid: (units / WARP), blocks of (WARP, TILE_ROWS).
extern "C" __global__ void max_norm(REAL* weight, const double* scalars, const int* alive,
                                    int inputs, int units) {
    __shared__ REAL part[TILE_ROWS][WARP];
    if (!*alive) return;
    REAL limit = scalars[MAX_NORM], sum = 0;
    int unit = blockIdx.x * WARP + threadIdx.x;
    if (unit < units)
        for (int row = threadIdx.y; row < inputs; row += TILE_ROWS) {
            REAL w = weight[row * units + unit];
            sum += w * w;
        }
    part[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (unit >= units) return;
    sum = part[0][threadIdx.x];
    for (int k = 1; k < TILE_ROWS; ++k) sum += part[k][threadIdx.x];
    REAL down = limit / larger(REAL(sqrt(sum)), limit);
    for (int row = threadIdx.y; row < inputs; row += TILE_ROWS) weight[row * units + unit] *= down;
}
