// Kernel "transpose" with GFNI: 512 rows of 8 bytes to 64 planes of 512 bits.
//
// Contract: transpose.inl. Included inside the target region of avx512.cpp.
// Reason. A byte permutation brings equal columns of 8 rows together, last row first; GF2P8AFFINEQB
// multiplies the identity by each 8 x 8 square of bits, which mirrors it. What is left moves whole bytes:
// three rounds of unpacking join 64 rows of a plane to a word, three more join 8 words to a plane. Cost: 8
// shuffles a vector of 8 rows, 512 for 8 bytes of a block, at one a cycle.

DMTH_FAST_INLINE void mirror_words(const std::uint64_t* in, std::uint64_t* out) {
    __m512i a[8];
    __m512i b[8];
    for (int i = 0; i < 8; ++i) a[i] = load(in + 64 * i);
    for (int i = 0; i < 4; ++i) {
        b[2 * i] = _mm512_unpacklo_epi64(a[2 * i], a[2 * i + 1]);
        b[2 * i + 1] = _mm512_unpackhi_epi64(a[2 * i], a[2 * i + 1]);
    }
    for (int i = 0; i < 2; ++i) {  // plane i mod 2 of four lanes
        const __m512i low = _mm512_shuffle_i64x2(b[i], b[2 + i], 0x88);
        const __m512i high = _mm512_shuffle_i64x2(b[i], b[2 + i], 0xdd);
        const __m512i low2 = _mm512_shuffle_i64x2(b[4 + i], b[6 + i], 0x88);
        const __m512i high2 = _mm512_shuffle_i64x2(b[4 + i], b[6 + i], 0xdd);
        // Lanes of `low`: words 0 1 of lanes 0 and 2, then words 2 3; order them word by word.
        const __m512i order0 = _mm512_setr_epi64(0, 1, 4, 5, 8, 9, 12, 13);
        const __m512i order1 = _mm512_setr_epi64(2, 3, 6, 7, 10, 11, 14, 15);
        store(out + (0 * 16 + i) * kBlockWords, _mm512_permutex2var_epi64(low, order0, low2));
        store(out + (1 * 16 + i) * kBlockWords, _mm512_permutex2var_epi64(high, order0, high2));
        store(out + (2 * 16 + i) * kBlockWords, _mm512_permutex2var_epi64(low, order1, low2));
        store(out + (3 * 16 + i) * kBlockWords, _mm512_permutex2var_epi64(high, order1, high2));
    }
}

static void transpose_column(const std::uint8_t* rows, std::int64_t planes, std::uint64_t* out) {
    alignas(64) static constexpr std::uint8_t kColumns[64] = {
        56, 48, 40, 32, 24, 16, 8,  0,  57, 49, 41, 33, 25, 17, 9,  1,  58, 50, 42, 34, 26, 18,
        10, 2,  59, 51, 43, 35, 27, 19, 11, 3,  60, 52, 44, 36, 28, 20, 12, 4,  61, 53, 45, 37,
        29, 21, 13, 5,  62, 54, 46, 38, 30, 22, 14, 6,  63, 55, 47, 39, 31, 23, 15, 7};
    const __m512i columns = _mm512_load_si512(kColumns);
    const __m512i identity = _mm512_set1_epi64(static_cast<long long>(0x8040201008040201u));
    alignas(64) std::uint64_t words[kBlockWords * 64];  // for each 64 rows: 8 registers of 8 planes' words
    for (int word = 0; word < kBlockWords; ++word) {
        __m512i a[8];
        for (int i = 0; i < 8; ++i) {
            const __m512i square =
                _mm512_permutexvar_epi8(columns, _mm512_loadu_si512(rows + word * 512 + i * 64));
            a[i] = _mm512_gf2p8affine_epi64_epi8(identity, square, 0);
        }
        __m512i b[8];
        for (int i = 0; i < 4; ++i) {
            b[2 * i] = _mm512_unpacklo_epi8(a[2 * i], a[2 * i + 1]);
            b[2 * i + 1] = _mm512_unpackhi_epi8(a[2 * i], a[2 * i + 1]);
        }
        __m512i c[8];
        for (int i = 0; i < 2; ++i) {
            for (int j = 0; j < 2; ++j) {
                c[4 * i + 2 * j] = _mm512_unpacklo_epi16(b[4 * i + j], b[4 * i + 2 + j]);
                c[4 * i + 2 * j + 1] = _mm512_unpackhi_epi16(b[4 * i + j], b[4 * i + 2 + j]);
            }
        }
        for (int j = 0; j < 4; ++j) {  // register 2 j + h, lane l: planes 16 l + 4 j + 2 h and the next
            store(words + 64 * word + 16 * j, _mm512_unpacklo_epi32(c[j], c[4 + j]));
            store(words + 64 * word + 16 * j + 8, _mm512_unpackhi_epi32(c[j], c[4 + j]));
        }
    }
    if (planes == 64) {
        for (int i = 0; i < 8; ++i) mirror_words(words + 8 * i, out + 2 * i * kBlockWords);
        return;
    }
    alignas(64) std::uint64_t all[64 * kBlockWords];
    for (int i = 0; i < 8; ++i) mirror_words(words + 8 * i, all + 2 * i * kBlockWords);
    for (std::int64_t j = 0; j < planes; ++j) store(out + j * kBlockWords, load(all + j * kBlockWords));
}
