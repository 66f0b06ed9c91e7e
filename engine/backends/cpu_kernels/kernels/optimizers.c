// Optimisers: each loop is a formula of engine/optimization/optimizers.py in one pass, where NumPy
// takes one for each operation.

KERNEL void sgd(REAL *restrict w, const REAL *restrict g, REAL *restrict v, length size,
                double rate, double momentum) {
    const REAL eta = rate, mu = momentum;
    SIMD for (length i = 0; i < size; ++i) {
        v[i] = v[i] * mu + g[i];
        w[i] -= v[i] * eta;
    }
}

KERNEL void shrink(REAL *restrict w, length size, double factor) {
    const REAL kept = factor;
    SIMD for (length i = 0; i < size; ++i) w[i] *= kept;
}

KERNEL void nesterov(REAL *restrict w, const REAL *restrict g, REAL *restrict v, length size,
                     double rate, double momentum) {
    const REAL eta = rate, mu = momentum;
    SIMD for (length i = 0; i < size; ++i) {
        v[i] = v[i] * mu + g[i];
        w[i] -= (v[i] * mu + g[i]) * eta;
    }
}

KERNEL void adagrad(REAL *restrict w, const REAL *restrict g, REAL *restrict s, length size,
                    double rate, double epsilon) {
    const REAL eta = rate, tiny = epsilon;
    SIMD for (length i = 0; i < size; ++i) {
        s[i] += g[i] * g[i];
        w[i] -= g[i] / (ROOT(s[i]) + tiny) * eta;
    }
}

KERNEL void rmsprop(REAL *restrict w, const REAL *restrict g, REAL *restrict s, REAL *restrict v,
                    length size, double rate, double momentum, double alpha, double epsilon) {
    const REAL eta = rate, mu = momentum, keep = alpha, take = 1 - alpha, tiny = epsilon;
    SIMD for (length i = 0; i < size; ++i) {
        s[i] = s[i] * keep + g[i] * g[i] * take;
        v[i] = v[i] * mu + g[i] / (ROOT(s[i]) + tiny);
        w[i] -= v[i] * eta;
    }
}

KERNEL void adam(REAL *restrict w, const REAL *restrict g, REAL *restrict m, REAL *restrict s,
                 length size, double rate, double beta1, double beta2, double epsilon) {
    const REAL eta = rate, take1 = 1 - beta1, keep2 = beta2, take2 = 1 - beta2, tiny = epsilon;
    SIMD for (length i = 0; i < size; ++i) {
        m[i] += (g[i] - m[i]) * take1;
        s[i] = s[i] * keep2 + g[i] * g[i] * take2;
        w[i] -= m[i] / (ROOT(s[i]) + tiny) * eta;
    }
}
