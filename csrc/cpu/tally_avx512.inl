// Kernel "tally": how many rows of a block lie at each distance from one query.
//
// Contract. kernels.h. Included inside the target region of avx512.cpp, after sel.inl.
// Reason. Kernel "sel" leaves A = 2^L - 1 - |x| + 2 |x & q| of 512 rows in bit slices, and the distance is A
// up to sign and offset: so the histogram of A is the histogram of the distance. Its low three bits give 8
// masks, its high ones a mask a group of 8 values; a group without rows is skipped, else 8 VPOPCNTQ add to a
// vector of counts for each value, whose lanes are summed once a chunk. Cost: the sums of "sel", then an and,
// a popcount, an addition and a store for each value in the groups that occur, some 40 at 64 bits.
// Measured through histograms, 65,536 rows of 64 bits, 100 queries, 10 classes, one thread: .23 ns a pair,
// where AVX2 counts one by one in 5.1 ns.

template <int L>
static void tally_run(const std::uint64_t* block, std::int64_t weight, const PlaneRun& run,
                      const std::uint64_t* among, int least, int most, std::uint64_t* counts) {
    Vec sums[L];
#pragma GCC unroll 16
    for (int j = 0; j + 1 < L; ++j) sums[j] = load(block + weight + (j + 1) * kBlockWords);
    sums[L - 1] = zero();
    const std::uint16_t* offsets = run.offsets;
    int left = run.planes;  // loops rather than a kernel a class: the sums are the smaller part here
    if constexpr (L > 6) {
        for (; left >= 64; left -= 64, offsets += 64) ripple<L, 6>(sums, add_planes<6>(block, offsets, sums));
    }
    for (; left >= 16; left -= 16, offsets += 16) ripple<L, 4>(sums, add_planes<4>(block, offsets, sums));
    for (; left >= 4; left -= 4, offsets += 4) ripple<L, 2>(sums, add_planes<2>(block, offsets, sums));

    const Vec bit0 = load(block + weight);  // bits of A: bit0, then sums
    const Vec rows = load(among);
    Vec low[8];
    Vec middle[8];
#pragma GCC unroll 8
    for (int v = 0; v < 8; ++v) {
        const Vec a = v & 1 ? bit0 : complement(bit0);
        const Vec b = v & 2 ? sums[0] : complement(sums[0]);
        const Vec c = v & 4 ? sums[1] : complement(sums[1]);
        low[v] = _mm512_ternarylogic_epi64(a, b, c, 0x80);
        const Vec d = v & 1 ? sums[2] : complement(sums[2]);
        const Vec e = v & 2 ? sums[3] : complement(sums[3]);
        const Vec f = v & 4 ? sums[4] : complement(sums[4]);
        middle[v] = _mm512_ternarylogic_epi64(d, e, f, 0x80);
    }
    for (int high = least >> 6; high <= most >> 6; ++high) {
        Vec mask = rows;
#pragma GCC unroll 16
        for (int j = 5; j < L; ++j) {
            mask = _mm512_and_si512(mask, _mm512_xor_si512(sums[j], splat((high >> (j - 5) & 1) - 1)));
        }
        if (!nonzero(mask)) continue;
        for (int group = 0; group < 8; ++group) {
            const Vec hit = _mm512_and_si512(mask, middle[group]);
            if (!nonzero(hit)) continue;
            std::uint64_t* at = counts + (high * 64 + group * 8) * kBlockWords;
#pragma GCC unroll 8
            for (int v = 0; v < 8; ++v, at += kBlockWords) {
                store(at, _mm512_add_epi64(load(at), _mm512_popcnt_epi64(_mm512_and_si512(hit, low[v]))));
            }
        }
    }
}

static void tally(const std::uint64_t* block, std::int64_t bytes, const PlaneRun& run,
                  const std::uint64_t* among, int least, int most, std::uint64_t* counts) {
    const PlaneLayout layout(bytes);
    const std::int64_t weight = layout.weight();
    switch (layout.levels) {
        case 6:
            return tally_run<6>(block, weight, run, among, least, most, counts);
        case 7:
            return tally_run<7>(block, weight, run, among, least, most, counts);
        case 8:
            return tally_run<8>(block, weight, run, among, least, most, counts);
        case 9:
            return tally_run<9>(block, weight, run, among, least, most, counts);
        case 10:
            return tally_run<10>(block, weight, run, among, least, most, counts);
        case 11:
            return tally_run<11>(block, weight, run, among, least, most, counts);
        case 12:
            return tally_run<12>(block, weight, run, among, least, most, counts);
        default:
            return tally_run<13>(block, weight, run, among, least, most, counts);
    }
}
