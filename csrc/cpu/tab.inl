// Kernel "tab": sums of shared items that a query looks up, compared with its bound, for a part of a block.
//
// Contract. For each query of a run, the rows of one part of a block (the width of a vector) within its
// bound; queries without any leave no trace. Included inside the target region of each instruction set, after
// sel.inl. Codes of up to kMostBytes bytes.
// Reason. For planes a, b, c and query bits x, y, z the full adder (a^x) + (b^y) + (c^z) = low + 2 high has
// low = a^b^c ^ x^y^z: one more plane with one more query bit, the same for all queries. So planes are taken
// three at a time, each low goes to the end of the queue, and the distance is
//     d = parity + 2 (sum of W / 2 items high = maj(a^x, b^y, c^z)).
// An item has eight patterns, made once a block for all queries; a query is one address an item. The last
// item takes two planes and a constant e, which adds e to d: with e = 1 for an even bound T, d <= T asks
// whether d + e <= 2 t + 1, where the parity does not matter. The adders start from the bits of 2^M - 1 - t,
// so the carry out of M bits is the comparison. Cost at 64 bits, AVX-512: 57 ternary operations and 37 loads
// a block and query, which Zen 4 retires at .55 and 1 cycle each, so 37 cycles; measured in cache 46 (80 % of
// that bound), and 730 a block for the items, whose 256 stores alone take 512. With 100 queries 54 cycles (34
// G distances a second at 3.65 GHz), where kernel "sel" takes 58; with AVX2 110 and 126, in 128 bits 236 and
// 290. At 32 bits 33 and 36, 55 and 71, 120 and 172.
template <int Bytes>
struct TabShape {
    static constexpr int planes = 8 * Bytes;
    static constexpr int items = planes / 2;
    static constexpr int levels = items <= 4 ? 2 : items <= 8 ? 3 : items <= 16 ? 4 : 5;
};

// The eight patterns of majority: bit 0 of the pattern complements a, bit 1 b, bit 2 c.
DMTH_FAST_INLINE void store_patterns(Vec a, Vec b, Vec c, std::uint64_t* out) {
    const Vec patterns[4] = {majority(a, b, c), majority(complement(a), b, c), majority(a, complement(b), c),
                             majority(a, b, complement(c))};
    store(out, patterns[0]);
    store(out + 1 * kVecWords, patterns[1]);
    store(out + 2 * kVecWords, patterns[2]);
    store(out + 3 * kVecWords, complement(patterns[3]));
    store(out + 4 * kVecWords, patterns[3]);
    store(out + 5 * kVecWords, complement(patterns[2]));
    store(out + 6 * kVecWords, complement(patterns[1]));
    store(out + 7 * kVecWords, complement(patterns[0]));
}

template <int Bytes>
static void tab_items(const std::uint64_t* block, std::uint64_t* table) {
    using Shape = TabShape<Bytes>;
    alignas(64) std::uint64_t derived[Shape::items * kVecWords];
    const auto at = [&](int i) {
        return load(i < Shape::planes ? block + i * kBlockWords : derived + (i - Shape::planes) * kVecWords);
    };
#pragma GCC unroll 32
    for (int i = 0; i + 1 < Shape::items; ++i) {
        const Vec a = at(3 * i);
        const Vec b = at(3 * i + 1);
        const Vec c = at(3 * i + 2);
        store_patterns(a, b, c, table + i * 8 * kVecWords);
        store(derived + i * kVecWords, exclusive_or(exclusive_or(a, b), c));
    }
    constexpr int last = Shape::items - 1;
    store_patterns(at(3 * last), at(3 * last + 1), zero(), table + last * 8 * kVecWords);
}

// The carry of 2^K items from item `First` on; their lower sums stay in `sums`.
template <int K, int First>
DMTH_FAST_INLINE Vec add_items(const std::uint64_t* table, const std::uint8_t* patterns, Vec* sums) {
    if constexpr (K == 0) {
        return keep(load(table + First * 8 * kVecWords + patterns[First]));
    } else {
        const Vec a = add_items<K - 1, First>(table, patterns, sums);
        const Vec b = add_items<K - 1, First + (1 << (K - 1))>(table, patterns, sums);
        return full_add(sums[K - 1], a, b);
    }
}

// Adds the items of R's set bits from 2^K on to M sums; the carry out of them.
template <int M, int K, int R, int First, bool Carried>
DMTH_FAST_INLINE Vec add_all(const std::uint64_t* table, const std::uint8_t* patterns, Vec* sums, Vec carry) {
    constexpr bool tree = (R >> K & 1) != 0;
    constexpr int next = First + (tree ? 1 << K : 0);
    if constexpr (K == M) {
        if constexpr (tree) carry = add_items<K, First>(table, patterns, sums);
        return carry;
    } else if constexpr (tree && Carried) {
        const Vec sum = add_items<K, First>(table, patterns, sums);
        return add_all<M, K + 1, R, next, true>(table, patterns, sums, full_add(sums[K], carry, sum));
    } else if constexpr (tree || Carried) {
        if constexpr (tree) carry = add_items<K, First>(table, patterns, sums);
        return add_all<M, K + 1, R, next, true>(table, patterns, sums, half_add(sums[K], carry));
    } else {
        return add_all<M, K + 1, R, next, false>(table, patterns, sums, carry);
    }
}

template <int Bytes>
static std::int64_t tab_run(const std::uint64_t* block, const TabQuery* queries, std::int64_t count,
                            Ahead& ahead, PlaneHit* hits, std::int32_t* who) {
    using Shape = TabShape<Bytes>;
    alignas(64) std::uint64_t table[Shape::items * 8 * kVecWords];
    tab_items<Bytes>(block, table);
    std::int64_t found = 0;
    for (const TabQuery* query = queries; query != queries + count; ++query) {
        ahead.fetch();
        Vec sums[Shape::levels];
#pragma GCC unroll 8
        for (int j = 0; j < Shape::levels; ++j) sums[j] = splat(query->start[j]);
        const Vec beyond =
            add_all<Shape::levels, 0, Shape::items, 0, false>(table, query->patterns, sums, zero());
        const Vec hit = complement(beyond);
        store(hits[found].mask, hit);
        who[found] = query->query;
        found += nonzero(hit);
    }
    return found;
}

static std::int64_t tab(const std::uint64_t* block, std::int64_t bytes, const TabQuery* queries,
                        std::int64_t count, Ahead& ahead, PlaneHit* hits, std::int32_t* who) {
    switch (bytes) {
        case 1:
            return tab_run<1>(block, queries, count, ahead, hits, who);
        case 2:
            return tab_run<2>(block, queries, count, ahead, hits, who);
        case 3:
            return tab_run<3>(block, queries, count, ahead, hits, who);
        case 4:
            return tab_run<4>(block, queries, count, ahead, hits, who);
        case 5:
            return tab_run<5>(block, queries, count, ahead, hits, who);
        case 6:
            return tab_run<6>(block, queries, count, ahead, hits, who);
        case 7:
            return tab_run<7>(block, queries, count, ahead, hits, who);
        default:
            return tab_run<8>(block, queries, count, ahead, hits, who);
    }
}
