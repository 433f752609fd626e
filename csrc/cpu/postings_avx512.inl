// Folds eight at a time with VPOPCNTQ; the usual eight has no hit and costs one comparison.
static inline std::int64_t strip_within(const std::uint64_t* folds, std::int64_t begin, std::int64_t n,
                                        std::uint64_t query, std::int32_t bound, PostingHit* hits) {
    const __m512i asked = _mm512_set1_epi64(static_cast<long long>(query));
    const __m512i most = _mm512_set1_epi64(bound);
    std::int64_t found = 0;
    for (std::int64_t i = 0; i < n; i += 8) {
        const auto exist = static_cast<__mmask8>(n - i < 8 ? (1 << (n - i)) - 1 : 255);
        const __m512i fold = _mm512_maskz_loadu_epi64(exist, folds + begin + i);
        const __m512i d = _mm512_popcnt_epi64(_mm512_xor_si512(fold, asked));
        std::uint32_t left = _mm512_mask_cmple_epi64_mask(exist, d, most);
        for (; left != 0; left &= left - 1) hits[found++].place = begin + i + __builtin_ctz(left);
    }
    return found;
}
