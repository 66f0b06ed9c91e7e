// What all kernels share. Before this text the host writes `#define REAL float` (or double) and the
// names of the scalars of a step, in their order: `enum { RATE, MOMENTUM, … }`.
//
// Every sum has a fixed order, so that a run can be repeated bit for bit: no atomics on floats.

#define WARP 32
#define THREADS 256        // of a block in kernels over flat arrays
#define TILE_ROWS 8        // a block of a kernel over columns is WARP × TILE_ROWS threads
#define ROWS_A_BLOCK 32    // and walks over so many rows
#define NORM_ROWS 32       // of a block of a kernel over columns that reads its rows twice
#define ALL_LANES 0xffffffffu

template <class V> __device__ bool is_finite(V v) { return v - v == 0; }

// The larger or smaller of two, and NaN where one of them is, as NumPy has it.
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
    __syncthreads();  // what an earlier call left may still be read
    if (threadIdx.x % WARP == 0) of_warp[threadIdx.x / WARP] = v;
    __syncthreads();
    v = of_warp[0];
    for (int warp = 1; warp < THREADS / WARP; ++warp) v = op(v, of_warp[warp]);
    return v;
}

// Tell the whole block whether all others of its group have written what they were to write.
// `arrived` counts them, and is 0 again for the next launch. (CUDA samples call it the
// thread-fence reduction: write, fence, count; who comes last may read.)
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

// The sum over all threads of all blocks; the one block that gets `true` has it in `sum`.
__device__ bool over_grid(double* sum, double* partial, int* arrived) {
    double of_block = over_block(*sum, Sum());
    if (threadIdx.x == 0) partial[blockIdx.x] = of_block;
    if (!is_last(arrived, gridDim.x)) return false;
    double v = 0;
    for (int i = threadIdx.x; i < gridDim.x; i += THREADS) v += ((volatile double*)partial)[i];
    *sum = over_block(v, Sum());
    return true;
}
