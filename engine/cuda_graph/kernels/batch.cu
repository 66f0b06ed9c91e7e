// The batch of a step, gathered from the data set on the device. Grid: (batch, parts of a row).
extern "C" __global__ void gather(const REAL* x, const long long* y, const long long* rows,
                                  REAL* batch_x, long long* batch_y, int features) {
    long long from = rows[blockIdx.x] * features, to = (long long)blockIdx.x * features;
    for (int j = blockIdx.y * THREADS + threadIdx.x; j < features; j += gridDim.y * THREADS)
        batch_x[to + j] = x[from + j];
    if (blockIdx.y == 0 && threadIdx.x == 0) batch_y[blockIdx.x] = y[rows[blockIdx.x]];
}

// highest = max(highest, column of a layer's output) for every unit: those that rise are not dead.
// `layers` (n, 4): output, highest, rows, units; `tiles` (blocks, 2): layer, first column.
extern "C" __global__ void highest_outputs(const long long* layers, const int* tiles,
                                        const int* alive) {
    __shared__ REAL part[TILE_ROWS][WARP];
    const long long* layer = layers + 4 * tiles[2 * blockIdx.x];
    const REAL* output = (const REAL*)layer[0];
    REAL* highest = (REAL*)layer[1];
    long long rows = layer[2], units = layer[3];
    long long unit = tiles[2 * blockIdx.x + 1] + threadIdx.x;
    if (unit < units) {
        REAL most = highest[unit];
        for (long long row = threadIdx.y; row < rows; row += TILE_ROWS)
            most = larger(most, output[row * units + unit]);
        part[threadIdx.y][threadIdx.x] = most;
    }
    __syncthreads();
    if (threadIdx.y > 0 || unit >= units || !*alive) return;
    REAL most = part[0][threadIdx.x];
    for (int k = 1; k < TILE_ROWS; ++k) most = larger(most, part[k][threadIdx.x]);
    highest[unit] = most;
}

// Restore the running averages from before a forward pass if an earlier loss was not finite.
extern "C" __global__ void restore_averages(REAL* state, const REAL* before, const int* alive,
                                            int size) {
    if (*alive) return;
    for (int i = blockIdx.x * THREADS + threadIdx.x; i < size; i += gridDim.x * THREADS)
        state[i] = before[i];
}
