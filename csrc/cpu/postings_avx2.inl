// Folds four at a time: ones of nibbles by a table in a register. The usual four has no hit and costs one
// comparison.
static inline std::int64_t strip_within(const std::uint64_t* folds, std::int64_t begin, std::int64_t n,
                                        std::uint64_t query, std::int32_t bound, PostingHit* hits) {
    const __m256i asked = _mm256_set1_epi64x(static_cast<long long>(query));
    const __m256i most = _mm256_set1_epi64x(bound);
    const __m256i nibble = _mm256_set1_epi8(15);
    const __m256i ones = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2,
                                          3, 1, 2, 2, 3, 2, 3, 3, 4);
    std::int64_t found = 0;
    std::int64_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const __m256i fold = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(folds + begin + i));
        const __m256i differ = _mm256_xor_si256(fold, asked);
        const __m256i low = _mm256_shuffle_epi8(ones, _mm256_and_si256(differ, nibble));
        const __m256i high =
            _mm256_shuffle_epi8(ones, _mm256_and_si256(_mm256_srli_epi16(differ, 4), nibble));
        const __m256i d = _mm256_sad_epu8(_mm256_add_epi8(low, high), _mm256_setzero_si256());
        const __m256i far = _mm256_cmpgt_epi64(d, most);
        std::uint32_t left = ~static_cast<std::uint32_t>(_mm256_movemask_pd(_mm256_castsi256_pd(far))) & 15;
        for (; left != 0; left &= left - 1) hits[found++].place = begin + i + __builtin_ctz(left);
    }
    for (; i < n; ++i) {
        hits[found].place = begin + i;
        found += popcount64(folds[begin + i] ^ query) <= bound;
    }
    return found;
}
