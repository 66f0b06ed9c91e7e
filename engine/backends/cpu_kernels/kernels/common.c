// What all kernels share. Before this text the host writes `#define REAL float` (or double).
//
// A kernel is a line `KERNEL type name(arguments) {`, from which the host reads how to call it: what
// is always the same comes first, what changes from call to call last. None allocates or keeps
// anything, and every sum has a fixed order. Where a kernel makes the operations of a formula in Python
// one by one, it does so to the last bit: the compiler must not fuse a product and a sum.

#include <math.h>
#include <stdint.h>
#include <string.h>

#define KERNEL __attribute__((visibility("default")))
#define SIMD _Pragma("omp simd")

typedef int64_t length;

static inline length at_most(length a, length b) { return a < b ? a : b; }
