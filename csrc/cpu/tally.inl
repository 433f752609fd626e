// Kernels "slice" and "tally": how many rows of some blocks lie at each distance from one query.
//
// Contract. kernels.h. Included inside the target region of each instruction set, after sel.inl; gives Vec,
// and_differ (a & (b ^ c)), both (a & b), byte_counts (ones in each byte), add_bytes and sum_bytes.
// Reason. Kernel "sel" adds planes to A = 2^L - 1 - |x| + 2 |x & q|, and the distance is A up to sign and
// offset, so the histogram of A modulo 2^L is that of the distance. "slice" keeps the L bit slices of A.
// "tally" counts the 8 values of a group, that is of equal high bits: H, the rows of the group, and its
// intersections with each subset of the three low slices, 7 conjunctions; the counts of single values follow
// by differences, once a query. Counts stay in byte lanes in registers over 31 additions. No branch asks
// whether a group is empty: it would be mispredicted at both ends of the distribution; the caller goes from
// group to group outwards from the mean until all rows are found.
// Cost of a group and 512 rows: L loads, L + 4 logical operations, 8 popcounts and additions; about 5 groups
// occur at 64 bits, 9 at 256.

template <int L, int R>
static void slice_run(const std::uint64_t* blocks, std::int64_t count, const PlaneLayout& layout,
                      const PlaneRun& run, std::uint64_t* slices) {
    const int whole = L >= 8 ? run.planes / 64 : 0;
    for (std::int64_t i = 0; i < count; ++i, blocks += layout.words(), slices += L * kBlockWords) {
        for (std::int64_t part = 0; part < kBlockWords; part += kVecWords) {
            const std::uint64_t* weights = blocks + layout.weight() + part;
            const std::uint16_t* offsets = run.offsets;
            Vec sums[L];
#pragma GCC unroll 16
            for (int j = 0; j + 1 < L; ++j) sums[j] = load(weights + (j + 1) * kBlockWords);
            sums[L - 1] = zero();
            if constexpr (L >= 8) {
                for (int tree = 0; tree < whole; ++tree, offsets += 64) {
                    ripple<L - 1, 6>(sums, add_planes<6>(blocks + part, offsets, sums));
                }
            }
            add_rest<L - 1, 0, R, false>(blocks + part, offsets, sums, zero());
            store(slices + part, load(weights));
#pragma GCC unroll 16
            for (int j = 0; j + 1 < L; ++j) store(slices + part + (j + 1) * kBlockWords, sums[j]);
        }
    }
}

template <int L, int Step, int... I>
DMTH_FAST_INLINE void slice_class(const std::uint64_t* blocks, std::int64_t count, const PlaneLayout& layout,
                                  const PlaneRun& run, std::uint64_t* slices, IntegerList<I...>) {
    using Run =
        void (*)(const std::uint64_t*, std::int64_t, const PlaneLayout&, const PlaneRun&, std::uint64_t*);
    static constexpr Run runs[] = {slice_run<L, I * Step>...};
    const int rest = L >= 8 ? run.planes % 64 : run.planes;
    return runs[rest / Step](blocks, count, layout, run, slices);
}

static void slice(const std::uint64_t* blocks, std::int64_t count, std::int64_t bytes, const PlaneRun& run,
                  std::uint64_t* slices) {
    const PlaneLayout layout(bytes);
    using Quarters = IntegerList<0, 1, 2, 3>;
    using Eighths = IntegerList<0, 1, 2, 3, 4, 5, 6, 7>;
    using Half = IntegerList<0, 1, 2, 3, 4, 5, 6, 7, 8>;
    using Whole = IntegerList<0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16>;
    switch (layout.levels) {
        case 6:
            return slice_class<6, 4>(blocks, count, layout, run, slices, Half());
        case 7:
            return slice_class<7, 4>(blocks, count, layout, run, slices, Whole());
        case 8:
            return slice_class<8, 8>(blocks, count, layout, run, slices, Eighths());
        case 9:
            return slice_class<9, 16>(blocks, count, layout, run, slices, Quarters());
        case 10:
            return slice_class<10, 16>(blocks, count, layout, run, slices, Quarters());
        case 11:
            return slice_class<11, 16>(blocks, count, layout, run, slices, Quarters());
        case 12:
            return slice_class<12, 16>(blocks, count, layout, run, slices, Quarters());
        default:
            return slice_class<13, 16>(blocks, count, layout, run, slices, Quarters());
    }
}

template <int L, bool Masked>
static std::int64_t tally_run(const std::uint64_t* slices, std::int64_t count, const std::int32_t* which,
                              const std::uint64_t* masks, int group, std::uint64_t* counts) {
    constexpr int kAdditions = 31;  // of at most 8 each to a byte
    constexpr int kParts = static_cast<int>(kBlockWords / kVecWords);
    Vec flip[L - 3];
#pragma GCC unroll 16
    for (int j = 0; j < L - 3; ++j) flip[j] = splat((group >> j & 1) - 1);
    std::int64_t found = 0;
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
        const std::uint64_t rows = sum_bytes(sums[0]);
        found += static_cast<std::int64_t>(rows);
        counts[0] += rows;
#pragma GCC unroll 8
        for (int v = 1; v < 8; ++v) counts[v] += sum_bytes(sums[v]);
    }
    return found;
}

static std::int64_t tally(const std::uint64_t* slices, std::int64_t count, int levels,
                          const std::int32_t* which, const std::uint64_t* masks, int group,
                          std::uint64_t* counts) {
    using Run = std::int64_t (*)(const std::uint64_t*, std::int64_t, const std::int32_t*,
                                 const std::uint64_t*, int, std::uint64_t*);
    static constexpr Run runs[2][8] = {
        {tally_run<6, false>, tally_run<7, false>, tally_run<8, false>, tally_run<9, false>,
         tally_run<10, false>, tally_run<11, false>, tally_run<12, false>, tally_run<13, false>},
        {tally_run<6, true>, tally_run<7, true>, tally_run<8, true>, tally_run<9, true>, tally_run<10, true>,
         tally_run<11, true>, tally_run<12, true>, tally_run<13, true>},
    };
    return runs[masks != nullptr][levels - 6](slices, count, which, masks, group, counts);
}
