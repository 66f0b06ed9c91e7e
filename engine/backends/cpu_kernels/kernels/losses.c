// Losses of (batch, classes) of scores at (batch,) of labels.

#define BIAS ((1 << (8 * sizeof(WORD) - DIGITS - 2)) - 1) // of an exponent
#define LN2_HIGH 0.693359375                              // few enough digits that products are exact
#define LN2_LOW -2.1219444005469058277e-4
#define TERMS (sizeof(REAL) == 4 ? 7 : 13)

// eˣ = 2ⁿ eʳ for x ≤ 0, with |r| ≤ ½ ln 2, from TERMS of the Taylor series:
// accurate to 1.2 units in the last place. 0 where it would be subnormal. Unlike the C library's
// function it is vectorised, which is four times as fast.
static inline REAL exponential(REAL x) {
    static const REAL factors[] = {1, 1, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720,
                                   1.0 / 5040, 1.0 / 40320, 1.0 / 362880, 1.0 / 3628800,
                                   1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800};
    const REAL least = -(BIAS - 1) * (LN2_HIGH + LN2_LOW), within = x < least ? least : x;
    const REAL rounder = 1.5 * ((WORD)1 << DIGITS); // a number added to it loses its fraction
    const REAL n = within * (REAL)(1 / (LN2_HIGH + LN2_LOW)) + rounder - rounder;
    const REAL r = within - n * (REAL)LN2_HIGH - n * (REAL)LN2_LOW;
    REAL series = factors[TERMS], power;
    for (int k = TERMS - 1; k >= 0; --k) series = series * r + factors[k];
    const WORD word = ((WORD)n + BIAS) << DIGITS;
    memcpy(&power, &word, sizeof power);
    return x < least ? 0 : series * power;
}

// The mean of −Σ target · log softmax(s), with 1 − smoothing + smoothing/C at the label and
// smoothing/C elsewhere; and its gradient. A score that is NaN makes its whole row NaN.
KERNEL double softmax_cross_entropy(REAL *restrict ds, length batch, length classes,
                                    double smoothing, const REAL *restrict s,
                                    const int64_t *restrict labels) {
    const REAL elsewhere = smoothing / classes, at_label = 1 - smoothing, n = batch;
    double loss = 0;
    for (length i = 0; i < batch; ++i, s += classes, ds += classes) {
        REAL most = s[0], sum = 0;
        for (length j = 1; j < classes; ++j) most = s[j] > most ? s[j] : most;
        for (length j = 0; j < classes; ++j) sum += ds[j] = s[j] - most;
        loss -= ds[labels[i]] * at_label + sum * elsewhere;
    }
    ds -= batch * classes;
    SIMD for (length k = 0; k < batch * classes; ++k) ds[k] = exponential(ds[k]);
    for (length i = 0; i < batch; ++i, ds += classes) {
        REAL sum = 0;
        for (length j = 0; j < classes; ++j) sum += ds[j];
        loss += LOG(sum);
        for (length j = 0; j < classes; ++j) {
            const REAL target = j == labels[i] ? at_label + elsewhere : elsewhere;
            ds[j] = (ds[j] / sum - target) / n;
        }
    }
    return loss / batch;
}

// The number of examples whose highest score is that of their label. The first of equal scores counts,
// and NaN is higher than all numbers.
KERNEL int64_t right_answers(length batch, length classes, const REAL *restrict s,
                             const int64_t *restrict labels) {
    int64_t right = 0;
    for (length i = 0; i < batch; ++i, s += classes) {
        length at = 0;
        for (length j = 1; j < classes && s[at] == s[at]; ++j)
            if (s[j] > s[at] || s[j] != s[j]) at = j;
        right += at == labels[i];
    }
    return right;
}
