// Batch normalisation over the rows of an array: a block takes WARP columns and all their rows, few
// enough that a cache still holds them when they are read again. Blocks of (WARP, NORM_ROWS) threads.

// The sum over all threads of a column; all of them get it.
__device__ REAL over_rows(REAL v) {
    __shared__ REAL part[NORM_ROWS][WARP];
    __syncthreads();  // the results of an earlier call may still be read
    part[threadIdx.y][threadIdx.x] = v;
    __syncthreads();
    v = part[0][threadIdx.x];
    for (int k = 1; k < NORM_ROWS; ++k) v += part[k][threadIdx.x];
    return v;
}

#define EACH_ROW                                                                                   \
    if (inside)                                                                                    \
        for (int i = threadIdx.y * columns + column; i < rows * columns; i += NORM_ROWS * columns)

// y = (x - mean) / sqrt(var + epsilon) * gamma + beta. The running averages do not change
// once a loss was not finite (`alive` = 0).
extern "C" __global__ void batch_norm_forward(const REAL* x, const REAL* gamma, const REAL* beta,
                                              REAL* y, REAL* mean, REAL* inv_std,
                                              REAL* running_mean, REAL* running_var,
                                              const int* alive, int rows, int columns,
                                              double momentum, double epsilon) {
    int column = blockIdx.x * WARP + threadIdx.x;
    bool inside = column < columns;
    REAL sum = 0, squares = 0;
    EACH_ROW sum += x[i];
    REAL centre = over_rows(sum) / rows;
    EACH_ROW squares += (x[i] - centre) * (x[i] - centre);
    REAL var = over_rows(squares) / rows;
    if (!inside) return;
    REAL inv = 1 / sqrt(var + REAL(epsilon)), factor = gamma[column] * inv, shift = beta[column];
    EACH_ROW y[i] = (x[i] - centre) * factor + shift;
    if (threadIdx.y > 0) return;
    mean[column] = centre;
    inv_std[column] = inv;
    if (!*alive) return;
    REAL keep = 1 - momentum, take = momentum, unbiased = momentum * rows / (rows - 1);
    running_mean[column] = running_mean[column] * keep + centre * take;
    running_var[column] = running_var[column] * keep + var * unbiased;
}

// dbeta = sum of dy, dgamma = sum of dy x^, and dx; x^ follows from `mean` and `inv_std`.
extern "C" __global__ void batch_norm_backward(const REAL* x, const REAL* dy, const REAL* gamma,
                                               const REAL* mean, const REAL* inv_std, REAL* dx,
                                               REAL* dgamma, REAL* dbeta, int rows, int columns) {
    int column = blockIdx.x * WARP + threadIdx.x;
    bool inside = column < columns;
    REAL centre = inside ? mean[column] : 0, inv = inside ? inv_std[column] : 0;
    REAL sum = 0, slopes = 0;
    EACH_ROW {
        REAL d = dy[i];
        sum += d;
        slopes += d * (x[i] - centre);
    }
    sum = over_rows(sum);
    slopes = over_rows(slopes) * inv;
    if (!inside) return;
    REAL slope = slopes * inv / rows, shift = sum / rows, factor = gamma[column] * inv;
    EACH_ROW dx[i] = (dy[i] - ((x[i] - centre) * slope + shift)) * factor;
    if (threadIdx.y > 0) return;
    dgamma[column] = slopes;
    dbeta[column] = sum;
}
