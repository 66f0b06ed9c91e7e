// Shared by all kernels. The host puts `#define REAL float` (or double) before this text, and the
// names of the scalars of a step in their order: `enum { RATE, MOMENTUM, … }`.
//
// Every sum has a fixed order, so that runs are reproducible bit for bit: no atomics on floats.

#define WARP 32
#define THREADS 256        // of a block in kernels over flat arrays
#define TILE_ROWS 8        // a block of a kernel over columns is WARP × TILE_ROWS threads
#define ROWS_A_BLOCK 32    // and loops over this many rows
#define NORM_ROWS 32       // of a block of a kernel over columns that reads its rows twice
#define ALL_LANES 0xffffffffu

template <class V> __device__ bool is_finite(V v) { return v - v == 0; }

// The larger or smaller of two values, or NaN if one of them is NaN, as in NumPy.
template <class V> __device__ V larger(V a, V b) { return a > b || a != a ? a : b; }
template <class V> __device__ V smaller(V a, V b) { return a < b || a != a ? a : b; }

struct Sum {
    template <class V> __device__ V operator()(V a, V b) const { return a + b; }
};
struct Larger {
    template <class V> __device__ V operator()(V a, V b) const { return larger(a, b); }
};
struct Smaller {
    template <class V> __device__ V operator()(V a, V b) const { return smaller(a, b); }
};

// Combine the values of a warp; every lane gets the result.
template <class V, class Op> __device__ V over_warp(V v, Op op) {
    for (int lane = WARP / 2; lane > 0; lane /= 2) v = op(v, __shfl_xor_sync(ALL_LANES, v, lane));
    return v;
}

// Combine the values of a block of THREADS; every thread gets the result.
template <class Op> __device__ double over_block(double v, Op op) {
    __shared__ double of_warp[THREADS / WARP];
    v = over_warp(v, op);
    __syncthreads();  // the results of an earlier call may still be read
    if (threadIdx.x % WARP == 0) of_warp[threadIdx.x / WARP] = v;
    __syncthreads();
    v = of_warp[0];
    for (int warp = 1; warp < THREADS / WARP; ++warp) v = op(v, of_warp[warp]);
    return v;
}

// Return true to all threads of the last block of a group: the other blocks have written their
// results by then. `arrived` counts the blocks and is reset to 0 for the next launch. (The
// thread-fence reduction of the CUDA samples: write, fence, count; the last block may read.)
__device__ bool is_last(int* arrived, int blocks) {
    __shared__ bool last;
    bool first_thread = threadIdx.x == 0 && threadIdx.y == 0;
    __threadfence();
    __syncthreads();
    if (first_thread) last = atomicAdd(arrived, 1) == blocks - 1;
    __syncthreads();
    if (last && first_thread) *arrived = 0;
    if (last) __threadfence();
    return last;
}

// The sum over all threads of all blocks: in `sum` of the one block for which this returns true.
__device__ bool over_grid(double* sum, double* partial, int* arrived) {
    double of_block = over_block(*sum, Sum());
    if (threadIdx.x == 0) partial[blockIdx.x] = of_block;
    if (!is_last(arrived, gridDim.x)) return false;
    double v = 0;
    for (int i = threadIdx.x; i < gridDim.x; i += THREADS) v += ((volatile double*)partial)[i];
    *sum = over_block(v, Sum());
    return true;
}
