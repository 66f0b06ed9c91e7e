// Activations, fused with the bias before them and with its gradient.
// f(x) is `forward`, dy · f′(x) is `backward`; a and b are the settings of the activation.

struct Identity {
    REAL a, b;
    __device__ REAL forward(REAL x) const { return x; }
    __device__ REAL backward(REAL x, REAL y, REAL dy) const { return dy; }
};

struct Relu {
    REAL a, b;
    __device__ REAL forward(REAL x) const { return x <= 0 ? REAL(0) : x; }
    __device__ REAL backward(REAL x, REAL y, REAL dy) const { return (y > 0 ? REAL(1) : y) * dy; }
};

struct LeakyRelu {  // a: slope
    REAL a, b;
    __device__ REAL forward(REAL x) const { return larger(x, x * a); }
    __device__ REAL backward(REAL x, REAL y, REAL dy) const {
        return (x > 0 ? REAL(1) : x <= 0 ? a : x) * dy;
    }
};

struct ExponentialLinear {  // a: α · scale, b: scale
    REAL a, b;
    __device__ REAL forward(REAL x) const { return x > 0 ? x * b : expm1(x) * a; }
    __device__ REAL backward(REAL x, REAL y, REAL dy) const { return (x > 0 ? b : y + a) * dy; }
};

struct Tanh {
    REAL a, b;
    __device__ REAL forward(REAL x) const { return tanh(x); }
    __device__ REAL backward(REAL x, REAL y, REAL dy) const { return (1 - y * y) * dy; }
};

__device__ REAL sigmoid_of(REAL x) { return tanh(x * REAL(0.5)) * REAL(0.5) + REAL(0.5); }

struct Sigmoid {
    REAL a, b;
    __device__ REAL forward(REAL x) const { return sigmoid_of(x); }
    __device__ REAL backward(REAL x, REAL y, REAL dy) const { return (1 - y) * y * dy; }
};

struct Softplus {
    REAL a, b;
    __device__ REAL forward(REAL x) const { return log1p(exp(-fabs(x))) + larger(x, REAL(0)); }
    __device__ REAL backward(REAL x, REAL y, REAL dy) const { return -expm1(-y) * dy; }
};

struct Silu {
    REAL a, b;
    __device__ REAL forward(REAL x) const { return x * sigmoid_of(x); }
    __device__ REAL backward(REAL x, REAL y, REAL dy) const {
        REAL gate = sigmoid_of(x);
        return (gate + y * (1 - gate)) * dy;
    }
};

struct Gelu {
    REAL a, b;
    __device__ REAL phi(REAL x) const {
        return REAL(0.5) * erf(x * REAL(0.70710678118654752)) + REAL(0.5);
    }
    __device__ REAL forward(REAL x) const { return x * phi(x); }
    __device__ REAL backward(REAL x, REAL y, REAL dy) const {
        REAL near = smaller(larger(x, REAL(-40)), REAL(40));  // beyond it Φ′ is 0
        return (phi(x) + near * exp(near * near * REAL(-0.5)) * REAL(0.39894228040143268)) * dy;
    }
};

// z ← z + bias (if there is one), y = f(z). `y` may be `z`. One thread per element, with a stride.
template <class F>
__device__ void forward(F f, REAL* z, const REAL* bias, REAL* y, int size, int columns,
                        int biased) {
    for (int i = blockIdx.x * THREADS + threadIdx.x; i < size; i += gridDim.x * THREADS) {
        REAL x = z[i];
        if (biased) z[i] = x = x + bias[i % columns];
        y[i] = f.forward(x);
    }
}

// dx = dy · f′(x), and if `summed`, db = Σ dx over the rows. `dx` may be `dy`.
// Grid: (columns / WARP, at most rows / ROWS_A_BLOCK); `partial` (grid.y, columns), `arrived`
// (grid.x).
template <class F>
__device__ void backward(F f, const REAL* x, const REAL* y, const REAL* dy, REAL* dx, REAL* db,
                         REAL* partial, int* arrived, int rows, int columns, int summed) {
    __shared__ REAL part[TILE_ROWS][WARP];
    int column = blockIdx.x * WARP + threadIdx.x;
    int first = blockIdx.y * ROWS_A_BLOCK;
    REAL sum = 0;
    for (; column < columns && first < rows; first += gridDim.y * ROWS_A_BLOCK)
        for (int row = first + threadIdx.y; row < min(rows, first + ROWS_A_BLOCK);
             row += TILE_ROWS) {
            int i = row * columns + column;
            REAL d = f.backward(x[i], y[i], dy[i]);
            dx[i] = d;
            sum += d;
        }
    if (!summed) return;
    part[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
        for (int k = 1; k < TILE_ROWS; ++k) sum += part[k][threadIdx.x];
        partial[blockIdx.y * columns + column] = sum;
    }
    if (!is_last(arrived + blockIdx.x, gridDim.y)) return;
    sum = 0;
    if (column < columns)
        for (int k = threadIdx.y; k < gridDim.y; k += TILE_ROWS)
            sum += ((volatile REAL*)partial)[k * columns + column];
    part[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y > 0 || column >= columns) return;
    for (int k = 1; k < TILE_ROWS; ++k) sum += part[k][threadIdx.x];
    db[column] = sum;
}

#define ACTIVATION(name, F)                                                                        \
    extern "C" __global__ void name##_forward(REAL* z, const REAL* bias, REAL* y, int size,        \
                                              int columns, int biased, double a, double b) {       \
        forward(F{REAL(a), REAL(b)}, z, bias, y, size, columns, biased);                           \
    }                                                                                              \
    extern "C" __global__ void name##_backward(                                                    \
        const REAL* x, const REAL* y, const REAL* dy, REAL* dx, REAL* db, REAL* partial,           \
        int* arrived, int rows, int columns, int summed, double a, double b) {                     \
        backward(F{REAL(a), REAL(b)}, x, y, dy, dx, db, partial, arrived, rows, columns, summed);  \
    }

ACTIVATION(identity, Identity)
ACTIVATION(relu, Relu)
ACTIVATION(leaky_relu, LeakyRelu)
ACTIVATION(exponential_linear, ExponentialLinear)
ACTIVATION(tanh, Tanh)
ACTIVATION(sigmoid, Sigmoid)
ACTIVATION(softplus, Softplus)
ACTIVATION(silu, Silu)
ACTIVATION(gelu, Gelu)
