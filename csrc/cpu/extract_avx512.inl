// Kernel "extract" with VBMI2: the numbers of the rows that a block's mask holds.
//
// Contract: kernels.h. Included inside the target region of avx512.cpp.
// Reason. One compression of the bytes 0..63 lists the set bits of a word, whatever their number, without a
// branch that a loop over them would mistake; 16 of them are widened and stored at once.

static std::int64_t extract(const std::uint64_t* mask, std::uint32_t first, std::uint32_t* rows) {
    alignas(64) static constexpr SlotBytes<64> table;
    const __m512i every = _mm512_load_si512(table.place);
    std::int64_t n = 0;
    for (std::int64_t word = 0; word < kBlockWords; ++word, first += 64) {
        const std::uint64_t bits = mask[word];
        const std::int64_t count = popcount64(bits);
        __m512i places = _mm512_maskz_compress_epi8(bits, every);
        const __m512i base = _mm512_set1_epi32(static_cast<int>(first));
        _mm512_storeu_si512(rows + n,
                            _mm512_add_epi32(base, _mm512_cvtepu8_epi32(_mm512_castsi512_si128(places))));
        for (std::int64_t at = 16; at < count; at += 16) {
            places = _mm512_alignr_epi64(_mm512_setzero_si512(), places, 2);
            _mm512_storeu_si512(rows + n + at,
                                _mm512_add_epi32(base, _mm512_cvtepu8_epi32(_mm512_castsi512_si128(places))));
        }
        n += count;
    }
    return n;
}
