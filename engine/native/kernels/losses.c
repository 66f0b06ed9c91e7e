// Losses, an example at a time: (batch, classes) of scores, (batch,) of labels.

// The mean of −Σ target · log softmax(s), with 1 − smoothing + smoothing/C at the label and
// smoothing/C elsewhere; and its gradient.
KERNEL double softmax_cross_entropy(REAL *restrict ds, length batch, length classes,
                                    double smoothing, const REAL *restrict s,
                                    const int64_t *restrict labels) {
    const REAL elsewhere = smoothing / classes, at_label = 1 - smoothing, n = batch;
    double loss = 0;
    for (length i = 0; i < batch; ++i, s += classes, ds += classes) {
        REAL most = s[0], sum = 0;
        for (length j = 1; j < classes; ++j) most = larger(most, s[j]);
        for (length j = 0; j < classes; ++j) sum += ds[j] = EXP(s[j] - most);
        const REAL log_sum = LOG(sum);
        for (length j = 0; j < classes; ++j) {
            const REAL target = j == labels[i] ? at_label + elsewhere : elsewhere;
            loss -= (s[j] - most - log_sum) * target;
            ds[j] = (ds[j] / sum - target) / n;
        }
    }
    return loss / batch;
}

// How many examples have their highest score at their label: of equal ones the first counts, and a
// NaN is higher than all.
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
