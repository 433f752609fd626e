// Kernel "transpose" with byte shuffles and sign masks: 64 rows of some bytes to a word of each plane.
//
// Contract: transpose.inl. Included inside the target region of avx2.cpp.
// Reason. Shuffles bring a column, one byte of 32 rows, into a register; eight sign masks make a word of half
// the rows of its planes. Rows of 8 bytes are read four a register; longer ones 16 bytes of two rows a
// register, so that nothing is gathered first. Cost: the sign masks, one a cycle, 1,024 for 8 bytes of a
// block, and as many stores.

// 32 rows of a column to half a word of each of its planes.
DMTH_FAST_INLINE void store_signs(__m256i column, std::uint64_t* out, int half) {
    for (int bit = 7; bit >= 0; --bit) {
        const auto mask = static_cast<std::uint32_t>(_mm256_movemask_epi8(column));
        __builtin_memcpy(reinterpret_cast<std::uint8_t*>(out + bit * kBlockWords) + half * 4, &mask, 4);
        column = _mm256_add_epi8(column, column);
    }
}

DMTH_FAST_INLINE __m256i load_lanes(const std::uint8_t* low, const std::uint8_t* high) {
    return _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(low))),
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(high)), 1);
}

// 8 registers of 8 rows each: bytes to columns of 64 rows by a shuffle within lanes and three rounds of
// unpacking, then a sign mask a plane.
static void transpose_64x8(const std::uint8_t* rows, std::int64_t planes, std::uint64_t* out) {
    // Within 16 bytes (two rows of 8), pair equal columns: a0 b0 a1 b1 ...
    const __m256i pairs = _mm256_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15, 0, 8, 1, 9,
                                           2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
    for (int half = 0; half < 2; ++half) {  // 32 rows
        const __m256i* from = reinterpret_cast<const __m256i*>(rows + half * 256);
        __m256i a[8];  // a[i]: rows 2 i, 2 i + 1 in the low lane, rows 16 + 2 i, 17 + 2 i in the high lane
        for (int i = 0; i < 4; ++i) {
            const __m256i low = _mm256_loadu_si256(from + i);
            const __m256i high = _mm256_loadu_si256(from + 4 + i);
            a[2 * i] = _mm256_shuffle_epi8(_mm256_permute2x128_si256(low, high, 0x20), pairs);
            a[2 * i + 1] = _mm256_shuffle_epi8(_mm256_permute2x128_si256(low, high, 0x31), pairs);
        }
        __m256i b[8];  // b[2 i], b[2 i + 1]: columns 0..3 and 4..7 of 4 rows
        for (int i = 0; i < 4; ++i) {
            b[2 * i] = _mm256_unpacklo_epi16(a[2 * i], a[2 * i + 1]);
            b[2 * i + 1] = _mm256_unpackhi_epi16(a[2 * i], a[2 * i + 1]);
        }
        __m256i c[8];  // c[4 i + j]: columns 2 j, 2 j + 1 of 8 rows
        for (int i = 0; i < 2; ++i) {
            for (int j = 0; j < 2; ++j) {
                c[4 * i + 2 * j] = _mm256_unpacklo_epi32(b[4 * i + j], b[4 * i + 2 + j]);
                c[4 * i + 2 * j + 1] = _mm256_unpackhi_epi32(b[4 * i + j], b[4 * i + 2 + j]);
            }
        }
        for (int j = 0; j < 4; ++j) {  // 16 rows a lane, one column a register
            __m256i columns[2] = {_mm256_unpacklo_epi64(c[j], c[4 + j]),
                                  _mm256_unpackhi_epi64(c[j], c[4 + j])};
            for (int i = 0; i < 2; ++i) {
                const int byte = 2 * j + i;
                if (byte * 8 >= planes) continue;
                store_signs(columns[i], out + byte * 8 * kBlockWords, half);
            }
        }
    }
}

static void transpose_column(const std::uint8_t* rows, std::int64_t planes, std::uint64_t* out) {
    for (std::int64_t word = 0; word < kBlockWords; ++word)
        transpose_64x8(rows + word * 512, planes, out + word);
}

// 64 rows of 4 bytes.
static void transpose_64x4(const std::uint8_t* rows, std::uint64_t* out) {
    const __m256i columns = _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, 0, 4, 8,
                                             12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    for (int half = 0; half < 2; ++half) {
        __m256i a[4];  // a word of four rows a column
        for (int i = 0; i < 4; ++i) {
            const std::uint8_t* from = rows + half * 128 + i * 16;
            a[i] = _mm256_shuffle_epi8(load_lanes(from, from + 64), columns);
        }
        const __m256i low[2] = {_mm256_unpacklo_epi32(a[0], a[1]), _mm256_unpacklo_epi32(a[2], a[3])};
        const __m256i high[2] = {_mm256_unpackhi_epi32(a[0], a[1]), _mm256_unpackhi_epi32(a[2], a[3])};
        store_signs(_mm256_unpacklo_epi64(low[0], low[1]), out, half);
        store_signs(_mm256_unpackhi_epi64(low[0], low[1]), out + 8 * kBlockWords, half);
        store_signs(_mm256_unpacklo_epi64(high[0], high[1]), out + 16 * kBlockWords, half);
        store_signs(_mm256_unpackhi_epi64(high[0], high[1]), out + 24 * kBlockWords, half);
    }
}

// Bytes begin to end - 1 of 16 bytes of 64 rows that are `bytes` apart. Register i and i + 8 unpacked give
// registers 2 i and 2 i + 1: that rotates the bits of a byte's place, and four times it is the transposition.
static void transpose_64x16(const std::uint8_t* rows, std::int64_t bytes, int begin, int end,
                            std::uint64_t* out) {
    for (int half = 0; half < 2; ++half) {
        __m256i a[16];
        __m256i b[16];
        for (int i = 0; i < 16; ++i) {
            const std::uint8_t* from = rows + (half * 32 + i) * bytes;
            a[i] = load_lanes(from, from + 16 * bytes);
        }
        for (int round = 0; round < 2; ++round) {
            for (int i = 0; i < 8; ++i) {
                b[2 * i] = _mm256_unpacklo_epi8(a[i], a[i + 8]);
                b[2 * i + 1] = _mm256_unpackhi_epi8(a[i], a[i + 8]);
            }
            for (int i = 0; i < 8; ++i) {
                a[2 * i] = _mm256_unpacklo_epi8(b[i], b[i + 8]);
                a[2 * i + 1] = _mm256_unpackhi_epi8(b[i], b[i + 8]);
            }
        }
        for (int i = begin; i < end; ++i) store_signs(a[i], out + (i - begin) * 8 * kBlockWords, half);
    }
}

static bool transpose_whole(const std::uint8_t* rows, std::int64_t bytes, std::uint64_t* block) {
    if (bytes == 4) {
        for (std::int64_t word = 0; word < kBlockWords; ++word)
            transpose_64x4(rows + word * 256, block + word);
        return true;
    }
    if (bytes <= 8) return false;
    for (std::int64_t word = 0; word < kBlockWords; ++word) {
        const std::uint8_t* from = rows + word * 64 * bytes;
        for (std::int64_t byte = 0; byte < bytes; byte += 16) {
            // 16 bytes that end with the row, where more would be read beyond the last one.
            const bool last = byte + 16 > bytes && (bytes > 16 || word + 1 == kBlockWords);
            const std::int64_t start = last ? bytes - 16 : byte;
            const std::int64_t end = bytes < start + 16 ? bytes : start + 16;
            transpose_64x16(from + start, bytes, static_cast<int>(byte - start),
                            static_cast<int>(end - start), block + byte * 8 * kBlockWords + word);
        }
    }
    return true;
}
