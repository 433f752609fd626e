// Kernels "slice" and "tally": how many rows of some blocks lie at each distance from one query.
//
// Contract. kernels.h. Included inside the target region of each instruction set, after sel.inl; gives Vec,
// and_differ (a & (b ^ c)), both (a & b), byte_counts (ones in each byte), add_bytes and add_sums (adds the
// sum of the bytes of each of 8 vectors to its counter).
// Reason. Kernel "sel" adds planes to A = 2^L - 1 - |x| + 2 |x & q|, and the distance is A up to sign and
// offset, so the histogram of A modulo 2^L is that of the distance. "slice" keeps the L bit slices of A.
// "tally" counts the 8 values of a group, that is of equal high bits: H, the rows of the group, and its
// intersections with each subset of the three low slices, 7 conjunctions; the counts of single values follow
// by differences, once a query. Counts stay in byte lanes in registers over 31 additions. The caller goes
// from group to group outwards from the mean until all rows are found. Only where fewer rows are left than
// blocks is there a branch for blocks without any: elsewhere it would be mispredicted too often.
// Cost. "slice": what "sel" costs, without the comparison and with L stores; measured on Zen 4 in cache 61
// cycles a block and query at 64 bits, 114 at 128, 221 at 256, as "sel". "tally" of a group and 512 rows: L
// loads, L + 4 logical operations, 8 popcounts and additions, 26 to 30 operations that two ports of 512 bits
// retire in 13 to 15 cycles; measured 17.8 at 64 bits, 24 at 256. 4 groups at 64 bits and 8 at 256 hold all
// but a few rows, 1 more the rest.

template <int L, int R>
static void slice_run(const std::uint64_t* block, std::int64_t weight, const PlaneRun& run, Ahead& ahead,
                      std::uint64_t* const* slices) {
    const int whole = run.planes / 64;
    const std::uint64_t* weights = block + weight;
    const std::uint16_t* offsets = run.offsets;
    constexpr bool whole_block = kVecWords == kBlockWords;
    Vec start[L];
    if constexpr (whole_block) {
#pragma GCC unroll 16
        for (int j = 0; j < L; ++j) start[j] = keep(load(weights + j * kBlockWords));
    }
    for (int q = 0; q < run.count; ++q, offsets += run.planes) {
        ahead.fetch();
        for (std::int64_t part = 0; part < kBlockWords; part += kVecWords) {
            if constexpr (!whole_block) {
#pragma GCC unroll 16
                for (int j = 0; j < L; ++j) start[j] = load(weights + part + j * kBlockWords);
            }
            Vec sums[L - 1];
#pragma GCC unroll 16
            for (int j = 0; j + 1 < L; ++j) sums[j] = start[j + 1];
            add_selected<L - 1, R, (L >= 8)>(block + part, offsets, whole, sums);
            std::uint64_t* out = slices[q] + part;
            store(out, start[0]);
#pragma GCC unroll 16
            for (int j = 0; j + 1 < L; ++j) store(out + (j + 1) * kBlockWords, sums[j]);
        }
    }
}

template <int L, int Step, int... I>
DMTH_FAST_INLINE void slice_class(const std::uint64_t* block, std::int64_t weight, const PlaneRun& run,
                                  Ahead& ahead, std::uint64_t* const* slices, IntegerList<I...>) {
    using Run = void (*)(const std::uint64_t*, std::int64_t, const PlaneRun&, Ahead&, std::uint64_t* const*);
    static constexpr Run runs[] = {slice_run<L, I * Step>...};
    const int rest = L >= 8 ? run.planes % 64 : run.planes;
    return runs[rest / Step](block, weight, run, ahead, slices);
}

static void slice(const std::uint64_t* block, std::int64_t bytes, const PlaneRun& run, Ahead& ahead,
                  std::uint64_t* const* slices) {
    const PlaneLayout layout(bytes);
    const std::int64_t weight = layout.weight();
    using Quarters = IntegerList<0, 1, 2, 3>;
    using Eighths = IntegerList<0, 1, 2, 3, 4, 5, 6, 7>;
    using Half = IntegerList<0, 1, 2, 3, 4, 5, 6, 7, 8>;
    using Whole = IntegerList<0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16>;
    switch (layout.levels) {
        case 6:
            return slice_class<6, 4>(block, weight, run, ahead, slices, Half());
        case 7:
            return slice_class<7, 4>(block, weight, run, ahead, slices, Whole());
        case 8:
            return slice_class<8, 8>(block, weight, run, ahead, slices, Eighths());
        case 9:
            return slice_class<9, 16>(block, weight, run, ahead, slices, Quarters());
        case 10:
            return slice_class<10, 16>(block, weight, run, ahead, slices, Quarters());
        case 11:
            return slice_class<11, 16>(block, weight, run, ahead, slices, Quarters());
        case 12:
            return slice_class<12, 16>(block, weight, run, ahead, slices, Quarters());
        default:
            return slice_class<13, 16>(block, weight, run, ahead, slices, Quarters());
    }
}

template <int L, bool Masked, bool Sparse>
static std::int64_t tally_run(const std::uint64_t* slices, std::int64_t count, const std::int32_t* which,
                              const std::uint64_t* masks, int group, std::uint64_t* counts) {
    constexpr int kAdditions = 31;  // of at most 8 each to a byte
    constexpr int kParts = static_cast<int>(kBlockWords / kVecWords);
    Vec flip[L - 3];
#pragma GCC unroll 16
    for (int j = 0; j < L - 3; ++j) flip[j] = splat((group >> j & 1) - 1);
    const std::uint64_t before = counts[0];
    for (std::int64_t first = 0; first < count; first += kAdditions / kParts) {
        const std::int64_t end = count - first > kAdditions / kParts ? first + kAdditions / kParts : count;
        Vec sums[8];
#pragma GCC unroll 8
        for (int v = 0; v < 8; ++v) sums[v] = zero();
        for (std::int64_t i = first; i < end; ++i) {
            const std::uint64_t* block = slices + (Masked ? which[i] : i) * L * kBlockWords;
            for (std::int64_t part = 0; part < kBlockWords; part += kVecWords) {
                const std::uint64_t* at = block + part;
                Vec high = exclusive_or(load(at + 3 * kBlockWords), flip[0]);
                if constexpr (Masked) high = both(high, load(masks + i * kBlockWords + part));
#pragma GCC unroll 16
                for (int j = 1; j < L - 3; ++j) {
                    high = and_differ(high, load(at + (3 + j) * kBlockWords), flip[j]);
                }
                if constexpr (Sparse) {
                    if (!nonzero(high)) continue;
                }
                const Vec a = load(at);
                const Vec b = load(at + kBlockWords);
                const Vec c = load(at + 2 * kBlockWords);
                const Vec high_a = both(high, a);
                const Vec high_b = both(high, b);
                const Vec high_ab = both(high_a, b);
                sums[0] = add_bytes(sums[0], byte_counts(high));
                sums[1] = add_bytes(sums[1], byte_counts(high_a));
                sums[2] = add_bytes(sums[2], byte_counts(high_b));
                sums[3] = add_bytes(sums[3], byte_counts(high_ab));
                sums[4] = add_bytes(sums[4], byte_counts(both(high, c)));
                sums[5] = add_bytes(sums[5], byte_counts(both(high_a, c)));
                sums[6] = add_bytes(sums[6], byte_counts(both(high_b, c)));
                sums[7] = add_bytes(sums[7], byte_counts(both(high_ab, c)));
            }
        }
        add_sums(sums, counts);
    }
    return static_cast<std::int64_t>(counts[0] - before);
}

template <bool Masked, bool Sparse, int... I>
DMTH_FAST_INLINE std::int64_t tally_class(const std::uint64_t* slices, std::int64_t count, int levels,
                                          const std::int32_t* which, const std::uint64_t* masks, int group,
                                          std::uint64_t* counts, IntegerList<I...>) {
    using Run = std::int64_t (*)(const std::uint64_t*, std::int64_t, const std::int32_t*,
                                 const std::uint64_t*, int, std::uint64_t*);
    static constexpr Run runs[] = {tally_run<6 + I, Masked, Sparse>...};
    return runs[levels - 6](slices, count, which, masks, group, counts);
}

static std::int64_t tally(const std::uint64_t* slices, std::int64_t count, int levels,
                          const std::int32_t* which, const std::uint64_t* masks, int group, bool sparse,
                          std::uint64_t* counts) {
    using Levels = IntegerList<0, 1, 2, 3, 4, 5, 6, 7>;
    if (masks != nullptr) {
        return tally_class<true, false>(slices, count, levels, which, masks, group, counts, Levels());
    }
    if (sparse) return tally_class<false, true>(slices, count, levels, which, masks, group, counts, Levels());
    return tally_class<false, false>(slices, count, levels, which, masks, group, counts, Levels());
}
