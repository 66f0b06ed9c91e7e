// Batch normalisation of (rows, columns), some columns at a time: few enough that their rows are
// still in the second-level cache when they are gone through again. Sums are made ROWS at a time and
// merged in float64.

#define ROWS 32
#define COLUMNS 64

// mean = Σ x / rows and m2 = Σ (x − mean)² of `width` columns. Of some rows the sums are of
// differences from the first, and all are merged in float64 (Chan et al., 1979).
static void moments_of(double *restrict mean, double *restrict m2, length rows, length columns,
                       length width, const REAL *restrict x) {
    for (length j = 0; j < width; ++j) mean[j] = m2[j] = 0;
    for (length row = 0; row < rows; row += ROWS) {
        const length height = at_most(ROWS, rows - row);
        const REAL *block = x + row * columns;
        REAL s[COLUMNS] = {0}, q[COLUMNS] = {0};
        for (length i = 1; i < height; ++i)
            SIMD for (length j = 0; j < width; ++j) {
                const REAL d = block[i * columns + j] - block[j];
                s[j] += d;
                q[j] += d * d;
            }
        const double share = (double)height / (row + height), weight = share * row;
        for (length j = 0; j < width; ++j) {
            const double sum = s[j], shift = block[j] + sum / height - mean[j];
            mean[j] += shift * share;
            m2[j] += q[j] - sum * sum / height + shift * shift * weight;
        }
    }
}

// slopes = Σ dy · (x − mean) and sums = Σ dy.
static void slopes_of(double *restrict slopes, double *restrict sums, length rows, length columns,
                      length width, const REAL *restrict x, const REAL *restrict mean,
                      const REAL *restrict dy) {
    for (length j = 0; j < width; ++j) slopes[j] = sums[j] = 0;
    for (length row = 0; row < rows; row += ROWS) {
        const length height = at_most(ROWS, rows - row);
        REAL s[COLUMNS] = {0}, q[COLUMNS] = {0};
        for (length i = row * columns; i < (row + height) * columns; i += columns)
            SIMD for (length j = 0; j < width; ++j) {
                s[j] += dy[i + j];
                q[j] += dy[i + j] * (x[i + j] - mean[j]);
            }
        for (length j = 0; j < width; ++j) {
            sums[j] += s[j];
            slopes[j] += q[j];
        }
    }
}

// y = (x − mean) · factor + beta.
static void forward_of(REAL *restrict y, length rows, length columns, length width,
                       const REAL *restrict x, const REAL *restrict mean,
                       const REAL *restrict factor, const REAL *restrict beta) {
    for (length i = 0; i < rows * columns; i += columns)
        SIMD for (length j = 0; j < width; ++j)
            y[i + j] = (x[i + j] - mean[j]) * factor[j] + beta[j];
}

// dx = (dy − (x − mean) · slope − shift) · factor.
static void backward_of(REAL *restrict dx, length rows, length columns, length width,
                        const REAL *restrict x, const REAL *restrict mean,
                        const REAL *restrict dy, const REAL *restrict slope,
                        const REAL *restrict shift, const REAL *restrict factor) {
    for (length i = 0; i < rows * columns; i += columns)
        SIMD for (length j = 0; j < width; ++j)
            dx[i + j] = (dy[i + j] - ((x[i + j] - mean[j]) * slope[j] + shift[j])) * factor[j];
}

// Declares `at`, the first column of a part, and `width`, how many it has.
#define EACH_PART                                                                                  \
    for (length at = 0, width = at_most(COLUMNS, columns); at < columns;                           \
         at += COLUMNS, width = at_most(COLUMNS, columns - at))

// A whole batch forwards: its mean and 1/std, the running averages, and y.
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

// A whole batch backwards: dgamma, dbeta and dx.
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

// The same in passes, between which those who have other rows of the batch are asked for theirs.

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

// total = Σ (x − mean)², by what `batch_norm_sums` found about another middle.
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
