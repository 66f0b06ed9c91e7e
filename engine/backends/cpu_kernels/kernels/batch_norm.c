// Batch normalisation of (rows, columns), some columns at a time: few enough that their rows are
// still in the second-level cache when they are read again. The columns are divided into tiles, narrow
// enough that the sums of a column stay in registers. Sums are computed for each tile and merged in
// float64.

#define COLUMNS 64
#define TILE_ROWS 32
#define TILE_COLUMNS 32
#define TILE static inline __attribute__((always_inline)) void

// Calls work(columns of the tile, __VA_ARGS__) for adjacent tiles: `j` is the first column of a tile,
// of `width`. Because the number of columns is a constant, the compiler can use registers.
#define ACROSS(work, ...)                                                                          \
    for (length j = 0; j < width; j += TILE_COLUMNS)                                               \
        if (width - j >= TILE_COLUMNS)                                                             \
            work(TILE_COLUMNS, __VA_ARGS__);                                                       \
        else                                                                                       \
            work(width - j, __VA_ARGS__);

// s = Σ d and q = Σ d² of the differences d from the first row.
TILE deviations_in(const length width, REAL *restrict s, REAL *restrict q, length height,
                   length columns, const REAL *restrict x) {
    REAL sum[TILE_COLUMNS] = {0}, squares[TILE_COLUMNS] = {0};
    for (length i = columns; i < height * columns; i += columns)
        SIMD for (length j = 0; j < width; ++j) {
            const REAL d = x[i + j] - x[j];
            sum[j] += d;
            squares[j] += d * d;
        }
    memcpy(s, sum, width * sizeof *s);
    memcpy(q, squares, width * sizeof *q);
}

// s = Σ dy and q = Σ dy · (x − mean).
TILE slopes_in(const length width, REAL *restrict s, REAL *restrict q, length height,
               length columns, const REAL *restrict x, const REAL *restrict mean,
               const REAL *restrict dy) {
    REAL sum[TILE_COLUMNS] = {0}, slope[TILE_COLUMNS] = {0};
    for (length i = 0; i < height * columns; i += columns)
        SIMD for (length j = 0; j < width; ++j) {
            sum[j] += dy[i + j];
            slope[j] += dy[i + j] * (x[i + j] - mean[j]);
        }
    memcpy(s, sum, width * sizeof *s);
    memcpy(q, slope, width * sizeof *q);
}

// y = (x − mean) · factor + beta.
TILE forward_in(const length width, REAL *restrict y, length height, length columns,
                const REAL *restrict x, const REAL *restrict mean, const REAL *restrict factor,
                const REAL *restrict beta) {
    for (length i = 0; i < height * columns; i += columns)
        SIMD for (length j = 0; j < width; ++j)
            y[i + j] = (x[i + j] - mean[j]) * factor[j] + beta[j];
}

// dx = (dy − (x − mean) · slope − shift) · factor.
TILE backward_in(const length width, REAL *restrict dx, length height, length columns,
                 const REAL *restrict x, const REAL *restrict mean, const REAL *restrict dy,
                 const REAL *restrict slope, const REAL *restrict shift,
                 const REAL *restrict factor) {
    for (length i = 0; i < height * columns; i += columns)
        SIMD for (length j = 0; j < width; ++j)
            dx[i + j] = (dy[i + j] - ((x[i + j] - mean[j]) * slope[j] + shift[j])) * factor[j];
}

// Declares `at`, where the first row of a tile begins, and `height`, its number of rows.
#define DOWN                                                                                       \
    for (length row = 0, height, at = 0; height = at_most(TILE_ROWS, rows - row), row < rows;      \
         row += TILE_ROWS, at += TILE_ROWS * columns)

// mean = Σ x / rows and m2 = Σ (x − mean)² of `width` columns (Chan et al., 1979).
static void moments_of(double *restrict mean, double *restrict m2, length rows, length columns,
                       length width, const REAL *restrict x) {
    for (length j = 0; j < width; ++j) mean[j] = m2[j] = 0;
    DOWN {
        REAL s[COLUMNS], q[COLUMNS];
        ACROSS(deviations_in, s + j, q + j, height, columns, x + at + j)
        const double share = (double)height / (row + height), weight = share * row;
        const double part = 1.0 / height;
        for (length j = 0; j < width; ++j) {
            const double sum = s[j], shift = x[at + j] + sum * part - mean[j];
            mean[j] += shift * share;
            m2[j] += q[j] - sum * sum * part + shift * shift * weight;
        }
    }
}

// slopes = Σ dy · (x − mean) and sums = Σ dy.
static void slopes_of(double *restrict slopes, double *restrict sums, length rows, length columns,
                      length width, const REAL *restrict x, const REAL *restrict mean,
                      const REAL *restrict dy) {
    for (length j = 0; j < width; ++j) slopes[j] = sums[j] = 0;
    DOWN {
        REAL s[COLUMNS], q[COLUMNS];
        ACROSS(slopes_in, s + j, q + j, height, columns, x + at + j, mean + j, dy + at + j)
        for (length j = 0; j < width; ++j) {
            sums[j] += s[j];
            slopes[j] += q[j];
        }
    }
}

static void forward_of(REAL *restrict y, length rows, length columns, length width,
                       const REAL *restrict x, const REAL *restrict mean,
                       const REAL *restrict factor, const REAL *restrict beta) {
    DOWN ACROSS(forward_in, y + at + j, height, columns, x + at + j, mean + j, factor + j, beta + j)
}

static void backward_of(REAL *restrict dx, length rows, length columns, length width,
                        const REAL *restrict x, const REAL *restrict mean,
                        const REAL *restrict dy, const REAL *restrict slope,
                        const REAL *restrict shift, const REAL *restrict factor) {
    DOWN ACROSS(backward_in, dx + at + j, height, columns, x + at + j, mean + j, dy + at + j,
                slope + j, shift + j, factor + j)
}

// Declares `at`, the first column of a part, and `width`, its number of columns.
#define EACH_PART                                                                                  \
    for (length at = 0, width = at_most(COLUMNS, columns); at < columns;                           \
         at += COLUMNS, width = at_most(COLUMNS, columns - at))

// Forward pass of a whole batch: its mean and 1/std, the running averages, and y.
KERNEL void batch_norm_forward(REAL *restrict y, REAL *restrict mean, REAL *restrict scale,
                               REAL *restrict factor, const REAL *restrict gamma,
                               const REAL *restrict beta, REAL *restrict running_mean,
                               REAL *restrict running_var, length rows, length columns,
                               double momentum, double epsilon, const REAL *restrict x) {
    EACH_PART {
        double middle[COLUMNS], m2[COLUMNS];
        moments_of(middle, m2, rows, columns, width, x + at);
        for (length j = at; j < at + width; ++j) {
            const double var = m2[j - at] / rows;
            mean[j] = middle[j - at];
            scale[j] = 1 / sqrt(var + epsilon);
            factor[j] = gamma[j] * scale[j];
            running_mean[j] += momentum * (mean[j] - running_mean[j]);
            running_var[j] += momentum * (var * rows / (rows - 1) - running_var[j]);
        }
        forward_of(y + at, rows, columns, width, x + at, mean + at, factor + at, beta + at);
    }
}

// Backward pass of a whole batch: dgamma, dbeta and dx.
KERNEL void batch_norm_backward(REAL *restrict dx, REAL *restrict dgamma, REAL *restrict dbeta,
                                const REAL *restrict scale, const REAL *restrict factor,
                                length rows, length columns, const REAL *restrict x,
                                const REAL *restrict mean, const REAL *restrict dy) {
    EACH_PART {
        double slopes[COLUMNS], sums[COLUMNS];
        REAL slope[COLUMNS], shift[COLUMNS];
        slopes_of(slopes, sums, rows, columns, width, x + at, mean + at, dy + at);
        for (length j = 0; j < width; ++j) {
            dgamma[at + j] = slopes[j] * scale[at + j];
            dbeta[at + j] = sums[j];
            slope[j] = dgamma[at + j] * scale[at + j] / rows;
            shift[j] = sums[j] / rows;
        }
        backward_of(dx + at, rows, columns, width, x + at, mean + at, dy + at, slope, shift,
                    factor + at);
    }
}

// The same in several passes, between which the sums of other shards of the batch are added.

// sum = Σ x, middle = sum / rows and squares = Σ (x − middle)².
KERNEL void batch_norm_sums(REAL *restrict middle, REAL *restrict squares, length rows,
                            length columns, REAL *restrict sum, const REAL *restrict x) {
    EACH_PART {
        double mean[COLUMNS], m2[COLUMNS];
        moments_of(mean, m2, rows, columns, width, x + at);
        for (length j = 0; j < width; ++j) {
            sum[at + j] = mean[j] * rows;
            middle[at + j] = mean[j];
            squares[at + j] = m2[j];
        }
    }
}

// total = Σ (x − mean)², from what `batch_norm_sums` computed about another middle.
KERNEL void batch_norm_squares(const REAL *restrict middle, const REAL *restrict squares,
                               length rows, length columns, REAL *restrict total,
                               const REAL *restrict mean) {
    for (length j = 0; j < columns; ++j) {
        const REAL shift = middle[j] - mean[j];
        total[j] = squares[j] + shift * shift * rows;
    }
}

KERNEL void batch_norm_apply(REAL *restrict y, length rows, length columns,
                             const REAL *restrict x, const REAL *restrict mean,
                             const REAL *restrict factor, const REAL *restrict beta) {
    forward_of(y, rows, columns, columns, x, mean, factor, beta);
}

// dgamma = Σ dy · (x − mean) and dbeta = Σ dy.
KERNEL void batch_norm_slopes(length rows, length columns, REAL *restrict dgamma,
                              REAL *restrict dbeta, const REAL *restrict x,
                              const REAL *restrict mean, const REAL *restrict dy) {
    EACH_PART {
        double slopes[COLUMNS], sums[COLUMNS];
        slopes_of(slopes, sums, rows, columns, width, x + at, mean + at, dy + at);
        for (length j = 0; j < width; ++j) {
            dgamma[at + j] = slopes[j];
            dbeta[at + j] = sums[j];
        }
    }
}

KERNEL void batch_norm_differentiate(REAL *restrict dx, length rows, length columns,
                                     const REAL *restrict x, const REAL *restrict mean,
                                     const REAL *restrict dy, const REAL *restrict slope,
                                     const REAL *restrict shift, const REAL *restrict factor) {
    backward_of(dx, rows, columns, columns, x, mean, dy, slope, shift, factor);
}
