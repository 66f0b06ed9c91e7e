// CUDA C++ on a CPU, for tests: the threads of a block are fibres, run one at a time, and meet at
// barriers as on a GPU. Blocks run one after the other. `order` ≠ 0 runs both backwards, so that a
// result that depends on the order shows. A barrier that some threads of a block never reach is
// reported.
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

// Let those go on that wait for nobody any more; false: all wait in vain.
inline bool release(int threads) {
    bool any = false, block = true, some = false;
    for (int i = 0; i < threads; ++i) {
        block = block && (fibres[i].state == AT_BLOCK || fibres[i].state == DONE);
        some = some || fibres[i].state == AT_BLOCK;
    }
    for (int i = 0; i < threads; ++i)
        if (block && some && fibres[i].state == AT_BLOCK) { fibres[i].state = RUNNING; any = true; }
    for (int warp = 0; warp < threads; warp += 32) {
        int end = min(threads, warp + 32);
        bool all = true;
        for (int i = warp; i < end; ++i) all = all && fibres[i].state == AT_WARP;
        for (int i = warp; all && i < end; ++i) { fibres[i].state = RUNNING; any = true; }
    }
    return any;
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
        for (int left = threads; left > 0;) {
            bool ran = false;
            for (int k = 0; k < threads; ++k) {
                Fibre& fibre = fibres[order ? threads - 1 - k : k];
                if (fibre.state != RUNNING) continue;
                ran = true;
                resume(fibre);
                left -= fibre.state == DONE;
            }
            if (left > 0 && !release(threads) && !ran) return 1;
        }
    }
    return 0;
}
}  // namespace emulated
