// Shared by all kernels. The host puts `#define REAL float` (or double) before this text.
//
// A kernel begins with a line `KERNEL type name(arguments) {`, from which the host reads its signature:
// first the arguments that are always the same, then those that change from call to call. A kernel
// does not allocate or keep anything, and every sum has a fixed order. A kernel that performs the
// operations of a Python formula in the same order gives the same bits: the compiler must not fuse a
// product and a sum.

#include <math.h>
#include <stdint.h>
#include <string.h>

#define KERNEL __attribute__((visibility("default")))
#define SIMD _Pragma("omp simd")

typedef int64_t length;

static inline length at_most(length a, length b) { return a < b ? a : b; }
