// Kernel "sel": sums of the planes that a query selects, compared with its bound, for 512 rows at once.
//
// Contract. For each query of a run, the rows of one block within its bound; queries without any leave no
// trace. Included inside the target region of each instruction set, which gives Vec and its operations.
// Reason. d = |x| + |q| - 2 |x & q|, so only the planes where q has a one are read: W / 2 at most, since
// otherwise the complement of q serves, d = W - |x| - |~q| + 2 |x & ~q|. Both ask whether
//     A = 2^L - 1 - |x| + 2 |x & q|  >=  least        (the second one: whether not)
// so the adders start from the stored planes of 2^L - 1 - |x| and `least` carries the bound. The sum goes
// through full adders in a tree (two planes and the running sum of their level give a carry of the next), the
// comparison is the carry of A + ~least + 1: one majority a level, with ~least as a word of 0 or -1 a level.
// The number of planes is a template argument; codes of 128 bits and more add whole trees of 64 planes in a
// loop.
// Cost. n planes: n loads, about n + L full adders, L + 1 majorities: at 64 bits, n = 29, some 68 ternary
// operations and 37 loads a block and query with AVX-512, which Zen 4 retires at .55 and 1 cycle each: both
// ports are bound at 37 cycles. Measured on Zen 4, 100 queries, one thread: in cache 58 cycles, 64 % of that
// bound; 36 at 32 bits (the bound is 22), 115 at 128 (70), 225 at 256 (135). AVX2 126 at 64 bits. Out of an
// index of 1 M codes 18.4 G distances a second at 96 bits, 14.6 at 128, 7.7 at 256, 3.8 at 512, which are
// 100, 128, 242 and 490 cycles: fetching the next block a few lines a query hides the memory.

template <int K>
DMTH_FAST_INLINE Vec add_planes(const std::uint64_t* block, const std::uint16_t* offsets, Vec* sums) {
    if constexpr (K == 0) {
        return load(block + *offsets);
    } else {
        const Vec a = add_planes<K - 1>(block, offsets, sums);
        const Vec b = add_planes<K - 1>(block, offsets + (1 << (K - 1)), sums);
        return full_add(sums[K - 1], a, b);
    }
}

// A value that the compiler must hold in a register: it would rather load it again for each use.
DMTH_FAST_INLINE Vec keep(Vec v) {
#if defined(__x86_64__)
    if constexpr (sizeof(Vec) == 64) asm("" : "+v"(v));
#endif
    return v;
}

// Adds one vector of weight 2^K to the sums.
template <int L, int K>
DMTH_FAST_INLINE void ripple(Vec* sums, Vec carry) {
    if constexpr (K < L - 1) {
        carry = half_add(sums[K], carry);
        ripple<L, K + 1>(sums, carry);
    } else if constexpr (K == L - 1) {
        sums[K] = exclusive_or(sums[K], carry);
    }
}

// Adds the planes of R's set bits from 2^K on, and a carry of weight 2^K if there is one.
template <int L, int K, int R, bool Carried>
DMTH_FAST_INLINE void add_rest(const std::uint64_t* block, const std::uint16_t* offsets, Vec* sums,
                               Vec carry) {
    constexpr bool tree = (R >> K & 1) != 0;
    if constexpr ((R >> K) == 0) {
        if constexpr (Carried) ripple<L, K>(sums, carry);
    } else if constexpr (tree && Carried) {
        const Vec sum = add_planes<K>(block, offsets, sums);
        if constexpr (K < L - 1) {
            carry = full_add(sums[K], carry, sum);
            add_rest<L, K + 1, R, true>(block, offsets + (1 << K), sums, carry);
        } else {
            sums[K] = exclusive_or(sums[K], exclusive_or(carry, sum));
        }
    } else if constexpr (tree || Carried) {
        if constexpr (tree) carry = add_planes<K>(block, offsets, sums);
        constexpr int taken = tree ? 1 << K : 0;
        if constexpr (K < L - 1) {
            carry = half_add(sums[K], carry);
            add_rest<L, K + 1, R, true>(block, offsets + taken, sums, carry);
        } else {
            sums[K] = exclusive_or(sums[K], carry);
        }
    } else {
        add_rest<L, K + 1, R, false>(block, offsets, sums, carry);
    }
}

// Adds `whole` trees of 64 planes, of which codes below 128 bits have none, and R planes more.
template <int L, int R, bool Trees>
DMTH_FAST_INLINE void add_selected(const std::uint64_t* block, const std::uint16_t* offsets, int whole,
                                   Vec* sums) {
    if constexpr (Trees) {
        for (int tree = 0; tree < whole; ++tree, offsets += 64) {
            ripple<L, 6>(sums, add_planes<6>(block, offsets, sums));
        }
    }
    add_rest<L, 0, R, false>(block, offsets, sums, zero());
}

template <int L, int K>
DMTH_FAST_INLINE Vec at_least(const Vec* sums, const std::int32_t* constants, Vec carry) {
    if constexpr (K == L) {
        return carry;
    } else {
        return at_least<L, K + 1>(sums, constants, majority(sums[K], carry, splat(constants[K + 1])));
    }
}

template <int L, int R>
static std::int64_t sel_run(const std::uint64_t* block, std::int64_t weight, const PlaneRun& run,
                            Ahead& ahead, PlaneHit* hits, std::int32_t* queries) {
    const int whole = run.planes / 64;  // trees of 64 planes before the rest; 0 below 128 bits
    const std::uint64_t* weights = block + weight;
    const std::uint16_t* offsets = run.offsets;
    const std::int32_t* constants = run.constants;
    constexpr bool whole_block = kVecWords == kBlockWords;
    Vec start[L];  // the stored weights; a vector of a whole block keeps them in registers for all queries
    if constexpr (whole_block) {
#pragma GCC unroll 16
        for (int j = 0; j < L; ++j) start[j] = keep(load(weights + j * kBlockWords));
    }
    std::int64_t found = 0;
    for (int q = 0; q < run.count; ++q, offsets += run.planes, constants += PlaneRun::kConstants) {
        ahead.fetch();
        bool any = false;
        for (std::int64_t part = 0; part < kBlockWords; part += kVecWords) {
            if constexpr (!whole_block) {
#pragma GCC unroll 16
                for (int j = 0; j < L; ++j) start[j] = load(weights + part + j * kBlockWords);
            }
            Vec sums[L];
#pragma GCC unroll 16
            for (int j = 0; j + 1 < L; ++j) sums[j] = start[j + 1];
            sums[L - 1] = zero();
            add_selected<L, R, (L >= 8)>(block + part, offsets, whole, sums);
            const Vec low = inclusive_or(start[0], splat(constants[0]));
            const Vec hit =
                exclusive_or(at_least<L, 0>(sums, constants, low), splat(constants[PlaneRun::kFlip]));
            store(hits[found].mask + part, hit);
            any |= nonzero(hit);
        }
        queries[found] = constants[PlaneRun::kQuery];
        found += any;
    }
    return found;
}

template <int L, int Step, int... I>
DMTH_FAST_INLINE std::int64_t sel_class(const std::uint64_t* block, std::int64_t weight, const PlaneRun& run,
                                        Ahead& ahead, PlaneHit* hits, std::int32_t* queries,
                                        IntegerList<I...>) {
    using Run = std::int64_t (*)(const std::uint64_t*, std::int64_t, const PlaneRun&, Ahead&, PlaneHit*,
                                 std::int32_t*);
    static constexpr Run runs[] = {sel_run<L, I * Step>...};
    const int rest = L >= 8 ? run.planes % 64 : run.planes;
    return runs[rest / Step](block, weight, run, ahead, hits, queries);
}

static std::int64_t sel(const std::uint64_t* block, std::int64_t bytes, const PlaneRun& run, Ahead& ahead,
                        PlaneHit* hits, std::int32_t* queries) {
    const PlaneLayout layout(bytes);
    const std::int64_t weight = layout.weight();
    using Quarters = IntegerList<0, 1, 2, 3>;
    using Eighths = IntegerList<0, 1, 2, 3, 4, 5, 6, 7>;
    using Half = IntegerList<0, 1, 2, 3, 4, 5, 6, 7, 8>;
    using Whole = IntegerList<0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16>;
    switch (layout.levels) {
        case 6:
            return sel_class<6, 4>(block, weight, run, ahead, hits, queries, Half());
        case 7:
            return sel_class<7, 4>(block, weight, run, ahead, hits, queries, Whole());
        case 8:
            return sel_class<8, 8>(block, weight, run, ahead, hits, queries, Eighths());
        case 9:
            return sel_class<9, 16>(block, weight, run, ahead, hits, queries, Quarters());
        case 10:
            return sel_class<10, 16>(block, weight, run, ahead, hits, queries, Quarters());
        case 11:
            return sel_class<11, 16>(block, weight, run, ahead, hits, queries, Quarters());
        case 12:
            return sel_class<12, 16>(block, weight, run, ahead, hits, queries, Quarters());
        default:
            return sel_class<13, 16>(block, weight, run, ahead, hits, queries, Quarters());
    }
}
