// CUDA C++ on a CPU, for tests: the threads of a block are fibres, run one at a time, and meet at
// barriers as on a GPU; each warp runs as far ahead of the others as they let it. `order` ≠ 0 runs
// warps and blocks backwards, so that a result that depends on the order shows. A barrier that some
// threads never reach is reported. Blocks run one after the other: what they do to each other at the
// same time, and in which order memory is seen, is not emulated.
#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

using std::erf; using std::exp; using std::expm1; using std::fabs; using std::log;
using std::log1p; using std::max; using std::min; using std::sqrt; using std::tanh;

#define __global__
#define __device__ inline
#define __shared__ static

struct Index { int x, y, z; };
inline Index threadIdx, blockIdx, blockDim, gridDim;

namespace emulated {
enum State { RUNNING, AT_WARP, AT_BLOCK, DONE };
struct Fibre {
    jmp_buf resume;
    bool begun;
    State state;
    Index index;
    int number;
    char* stack;
};
inline std::vector<Fibre> fibres;
inline jmp_buf scheduler;
inline Fibre* current;
inline void (*work)();  // of one thread
inline uint64_t exchange[1024];
static const size_t STACK = 64 << 10;

inline void pause(State state) {
    current->state = state;
    if (!_setjmp(current->resume)) _longjmp(scheduler, 1);
    threadIdx = current->index;
}

// A fibre lives on and takes the same thread of block after block.
inline void live() {
    for (;;) {
        work();
        pause(DONE);
    }
}

inline void resume(Fibre& fibre) {
    current = &fibre;
    threadIdx = fibre.index;
    if (_setjmp(scheduler)) return;
    if (fibre.begun) _longjmp(fibre.resume, 1);
    fibre.begun = true;
    ucontext_t begin;  // only here; a jump asks nothing of the operating system
    getcontext(&begin);
    begin.uc_stack.ss_sp = fibre.stack;
    begin.uc_stack.ss_size = STACK;
    makecontext(&begin, live, 0);
    setcontext(&begin);
}

// Run a warp until each of its threads is done or waits for the block; false: some wait in vain.
inline bool run_warp(int begin, int end, bool backwards) {
    for (;;) {
        int waiting = 0;
        for (int k = begin; k < end; ++k) {
            Fibre& fibre = fibres[backwards ? begin + end - 1 - k : k];
            if (fibre.state == RUNNING) resume(fibre);
        }
        for (int i = begin; i < end; ++i) waiting += fibres[i].state == AT_WARP;
        if (waiting == 0) return true;
        if (waiting < end - begin) return false;
        for (int i = begin; i < end; ++i) fibres[i].state = RUNNING;
    }
}

// Run a block: each warp goes as far ahead of the others as barriers let it.
inline bool run_block(int threads, bool backwards) {
    for (;;) {
        int warps = (threads + 31) / 32, done = 0, waiting = 0;
        for (int k = 0; k < warps; ++k) {
            int begin = 32 * (backwards ? warps - 1 - k : k);
            if (!run_warp(begin, min(threads, begin + 32), backwards)) return false;
        }
        for (int i = 0; i < threads; ++i) {
            done += fibres[i].state == DONE;
            waiting += fibres[i].state == AT_BLOCK;
        }
        if (done == threads) return true;
        if (waiting < threads) return false;  // some have left, and never come to the barrier
        for (int i = 0; i < threads; ++i) fibres[i].state = RUNNING;
    }
}
}  // namespace emulated

inline void __syncthreads() { emulated::pause(emulated::AT_BLOCK); }
inline void __threadfence() {}

template <class V> V __shfl_xor_sync(unsigned, V v, int lane) {
    using namespace emulated;
    memcpy(&exchange[current->number], &v, sizeof v);
    pause(AT_WARP);
    V other;
    memcpy(&other, &exchange[current->number ^ lane], sizeof v);
    pause(AT_WARP);
    return other;
}

template <class V> V atomicAdd(V* at, V v) { V old = *at; *at += v; return old; }

inline double __longlong_as_double(long long bits) { double v; memcpy(&v, &bits, 8); return v; }

namespace emulated {
template <class... A> struct Call {
    static void (*kernel)(A...);
    static void** arguments;
    template <size_t... I> static void with(std::index_sequence<I...>) {
        kernel(*(A*)arguments[I]...);
    }
    static void body() { with(std::index_sequence_for<A...>()); }
};
template <class... A> void (*Call<A...>::kernel)(A...);
template <class... A> void** Call<A...>::arguments;

// Run a kernel over its grid; 0, or 1 where threads waited at a barrier for others that never came.
template <class... A>
int launch(void (*kernel)(A...), const int* grid, const int* block, void** arguments, int order) {
    Call<A...>::kernel = kernel;
    Call<A...>::arguments = arguments;
    work = Call<A...>::body;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    int threads = block[0] * block[1] * block[2], blocks = grid[0] * grid[1] * grid[2];
    while ((int)fibres.size() < threads) fibres.push_back({{}, false, DONE, {}, 0, new char[STACK]});
    for (int b = 0; b < blocks; ++b) {
        int at = order ? blocks - 1 - b : b;
        blockIdx = {at % grid[0], at / grid[0] % grid[1], at / grid[0] / grid[1]};
        for (int i = 0; i < threads; ++i) {
            Fibre& fibre = fibres[i];
            fibre.state = RUNNING;
            fibre.number = i;
            fibre.index = {i % block[0], i / block[0] % block[1], i / block[0] / block[1]};
        }
        if (!run_block(threads, order != 0)) return 1;
    }
    return 0;
}
}  // namespace emulated
