// Activations whose formulas take NumPy more than one pass and need no function of the mathematical
// library: y = f(x) is `name_forward`, dx = dy · f′(x) is `name_backward`.

KERNEL void relu_forward(REAL *restrict y, length size, const REAL *restrict x) {
    SIMD for (length i = 0; i < size; ++i) y[i] = x[i] <= 0 ? (REAL)0 : x[i];
}

KERNEL void relu_backward(REAL *restrict dx, const REAL *restrict y, length size,
                          const REAL *restrict dy) {
    SIMD for (length i = 0; i < size; ++i) dx[i] = (y[i] > 0 ? (REAL)1 : y[i]) * dy[i];
}

KERNEL void tanh_backward(REAL *restrict dx, const REAL *restrict y, length size,
                          const REAL *restrict dy) {
    SIMD for (length i = 0; i < size; ++i) dx[i] = (1 - y[i] * y[i]) * dy[i];
}

KERNEL void sigmoid_backward(REAL *restrict dx, const REAL *restrict y, length size,
                             const REAL *restrict dy) {
    SIMD for (length i = 0; i < size; ++i) dx[i] = (1 - y[i]) * y[i] * dy[i];
}
