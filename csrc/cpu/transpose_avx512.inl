// Kernel "transpose" with GFNI and byte permutations: 512 rows to planes of 512 bits.
//
// Contract: transpose.inl. Included inside the target region of avx512.cpp.
// Reason. An octet is a register of 8 rows of 8 bytes. A permutation of two octets brings equal columns of 8
// rows together, last row first; GF2P8AFFINEQB multiplies the identity by each 8 x 8 square of bits, which
// mirrors it. What is left moves whole bytes: two rounds join 64 rows of a plane to a word, three more join 8
// words to a plane, in place: the words lie in the block where the planes will. Rows of other lengths differ
// in how octets are made: up to 8 bytes, one load; up to 16, one permutation of two loads; above, loads of 16
// bytes of 4 rows are blended first. All columns of 64 rows are taken before the next rows, which stay in the
// L1 cache meanwhile. Columns of up to 4 bytes take 128 rows at once: octets of two words side by side.
// Cost: 6 shuffles an octet, at one a cycle, and 7 where octets are permuted: 384 or 448 for 8 bytes.

// Byte 16 l + 8 o + r: row 7 - r, byte 2 l + h of octet o, of rows Stride bytes apart. Halves: bytes 4 to 7
// are those of the rows in the register's upper half.
template <bool Halves, int Stride>
struct SquareIndex {
    alignas(64) std::uint8_t index[2][64] = {};

    constexpr SquareIndex() {
        for (int i = 0; i < 128; ++i) {
            const int byte = 2 * (i / 16 % 4) + i / 64;
            const int at = Halves ? byte % 4 + 32 * (byte / 4) : byte;
            index[i / 64][i % 64] = static_cast<std::uint8_t>(64 * (i / 8 % 2) + Stride * (7 - i % 8) + at);
        }
    }
};

// 64 rows, or twice 64 rows of half the bytes, to the words of 64 planes: register k, lane l holds planes
// 16 l + 2 k and the next. It goes to line 2 k of `out`.
template <bool Halves, int Stride>
DMTH_FAST_INLINE void join(const __m512i* octets, std::uint64_t* out) {
    static constexpr SquareIndex<Halves, Stride> kSquares;
    const __m512i index[2] = {_mm512_load_si512(kSquares.index[0]), _mm512_load_si512(kSquares.index[1])};
    // Byte 16 l + 4 t + o: plane 4 m + t of lane l, octet o.
    alignas(64) static constexpr std::uint8_t kMix[64] = {
        0,  8,  64, 72,  1,  9,  65,  73,  2,  10, 66,  74,  3,  11,  67,  75,  16, 24,  80,  88, 17, 25,
        81, 89, 18, 26,  82, 90, 19,  27,  83, 91, 32,  40,  96, 104, 33,  41,  97, 105, 34,  42, 98, 106,
        35, 43, 99, 107, 48, 56, 112, 120, 49, 57, 113, 121, 50, 58,  114, 122, 51, 59,  115, 123};
    const __m512i mix[2] = {_mm512_load_si512(kMix),
                            _mm512_add_epi8(_mm512_load_si512(kMix), _mm512_set1_epi8(4))};
    const __m512i identity = _mm512_set1_epi64(static_cast<long long>(0x8040201008040201u));
    __m512i c[8];
    for (int i = 0; i < 2; ++i) {
        for (int h = 0; h < 2; ++h) {
            const __m512i a = _mm512_gf2p8affine_epi64_epi8(
                identity, _mm512_permutex2var_epi8(octets[4 * i], index[h], octets[4 * i + 1]), 0);
            const __m512i b = _mm512_gf2p8affine_epi64_epi8(
                identity, _mm512_permutex2var_epi8(octets[4 * i + 2], index[h], octets[4 * i + 3]), 0);
            c[4 * i + 2 * h] = _mm512_permutex2var_epi8(a, mix[0], b);
            c[4 * i + 2 * h + 1] = _mm512_permutex2var_epi8(a, mix[1], b);
        }
    }
    for (int j = 0; j < 4; ++j) {
        store(out + 4 * j * kBlockWords, _mm512_unpacklo_epi32(c[j], c[4 + j]));
        store(out + (4 * j + 2) * kBlockWords, _mm512_unpackhi_epi32(c[j], c[4 + j]));
    }
}

// Where the registers of a word, or pair of words, begin: k = 0 of all words fill the lines that become
// planes 16 l and 16 l + 1.
DMTH_FAST_INLINE std::int64_t word_place(int word) {
    return (16 * (word >> 1) + (word & 1)) * kBlockWords;
}

// Words to planes; `in` may be `out`. Planes from `planes` on are left out.
DMTH_FAST_INLINE void mirror_words(const std::uint64_t* in, std::int64_t planes, std::uint64_t* out) {
    const __m512i order0 = _mm512_setr_epi64(0, 1, 4, 5, 8, 9, 12, 13);
    const __m512i order1 = _mm512_setr_epi64(2, 3, 6, 7, 10, 11, 14, 15);
    for (int k = 0; k < 8; ++k) {
        __m512i a[8];
        __m512i b[8];
        for (int i = 0; i < 8; ++i) a[i] = load(in + word_place(i) + 2 * k * kBlockWords);
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
            const __m512i plane[4] = {
                _mm512_permutex2var_epi64(low, order0, low2), _mm512_permutex2var_epi64(high, order0, high2),
                _mm512_permutex2var_epi64(low, order1, low2), _mm512_permutex2var_epi64(high, order1, high2)};
            for (int l = 0; l < 4; ++l) {
                const int j = 16 * l + 2 * k + i;
                if (j < planes) store(out + j * kBlockWords, plane[l]);
            }
        }
    }
}

// The same for pairs of words, of which lanes 2 and 3 hold the second: 32 planes.
DMTH_FAST_INLINE void mirror_pairs(const std::uint64_t* in, std::int64_t planes, std::uint64_t* out) {
    for (int k = 0; k < 8; ++k) {
        __m512i a[4];
        for (int i = 0; i < 4; ++i) a[i] = load(in + word_place(i) + 2 * k * kBlockWords);
        for (int i = 0; i < 2; ++i) {
            const __m512i order = _mm512_setr_epi64(i, 4 + i, 8 + i, 12 + i, 2 + i, 6 + i, 10 + i, 14 + i);
            const __m512i low = _mm512_permutex2var_epi64(a[0], order, a[1]);
            const __m512i high = _mm512_permutex2var_epi64(a[2], order, a[3]);
            const int j = 2 * k + i;
            if (j < planes) store(out + j * kBlockWords, _mm512_shuffle_i64x2(low, high, 0x44));
            if (16 + j < planes) store(out + (16 + j) * kBlockWords, _mm512_shuffle_i64x2(low, high, 0xee));
        }
    }
}

// A column alone: octet(w, o) gives octet o of word w, or of words 2 w and 2 w + 1 side by side.
template <bool Halves, int Stride, class Octet>
DMTH_FAST_INLINE void transpose_octets(const Octet& octet, std::int64_t planes, std::uint64_t* out) {
    alignas(64) std::uint64_t spare[(Halves ? 32 : 64) * kBlockWords];
    std::uint64_t* words = planes == (Halves ? 32 : 64) ? out : spare;
    for (int w = 0; w < (Halves ? 4 : 8); ++w) {
        __m512i octets[8];
        for (int o = 0; o < 8; ++o) octets[o] = octet(w, o);
        join<Halves, Stride>(octets, words + word_place(w));
    }
    if constexpr (Halves) {
        mirror_pairs(words, planes, out);
    } else {
        mirror_words(words, planes, out);
    }
}

static void transpose_column(const std::uint8_t* rows, std::int64_t planes, std::uint64_t* out) {
    transpose_octets<false, 8>([&](int w, int o) { return _mm512_loadu_si512(rows + (8 * w + o) * 64); },
                               planes, out);
}

template <int Bytes>
static void transpose_short(const std::uint8_t* rows, std::uint64_t* block) {
    if constexpr (Bytes > 4) {
        const __mmask64 some = ~std::uint64_t{0} >> (64 - 8 * Bytes);
        transpose_octets<false, Bytes>(
            [&](int w, int o) { return _mm512_maskz_loadu_epi8(some, rows + (8 * w + o) * 8 * Bytes); },
            8 * Bytes, block);
    } else {
        const __mmask32 some = ~std::uint32_t{0} >> (32 - 8 * Bytes);
        transpose_octets<true, Bytes>(
            [&](int w, int o) {
                const std::uint8_t* first = rows + (16 * w + o) * 8 * Bytes;
                return _mm512_mask_broadcast_i64x4(
                    _mm512_castsi256_si512(_mm256_maskz_loadu_epi8(some, first)), 0xf0,
                    _mm256_maskz_loadu_epi8(some, first + 64 * Bytes));
            },
            8 * Bytes, block);
    }
}

DMTH_FAST_INLINE __m512i four_rows(const std::uint8_t* from, std::int64_t bytes) {
    const auto piece = [&](std::int64_t i) {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i * bytes));
    };
    __m512i rows = _mm512_castsi128_si512(piece(0));
    rows = _mm512_mask_broadcast_i32x4(rows, 0x00f0, piece(1));
    rows = _mm512_mask_broadcast_i32x4(rows, 0x0f00, piece(2));
    return _mm512_mask_broadcast_i32x4(rows, 0xf000, piece(3));
}

// 8 rows as two registers: whole rows of up to 16 bytes, or 16 bytes of each.
template <bool Long>
DMTH_FAST_INLINE void eight_rows(const std::uint8_t* from, std::int64_t bytes, __m512i* rows) {
    if constexpr (Long) {
        rows[0] = four_rows(from, bytes);
        rows[1] = four_rows(from + 4 * bytes, bytes);
    } else {
        rows[0] = _mm512_loadu_si512(from);
        rows[1] = _mm512_maskz_loadu_epi8(~std::uint64_t{0} >> (128 - 8 * bytes), from + 64);
    }
}

// Byte `Width` r + b: byte r stride + from + b.
template <int Width>
struct OctetIndex {
    alignas(64) std::uint8_t row[64] = {};
    alignas(64) std::uint8_t byte[64] = {};

    constexpr OctetIndex() {
        for (int i = 0; i < 64; ++i) {
            row[i] = static_cast<std::uint8_t>(i / Width % 8);
            byte[i] = static_cast<std::uint8_t>(i % Width);
        }
    }
};

template <int Width>
DMTH_FAST_INLINE __m512i octet_index(std::int64_t stride, std::int64_t from) {
    static constexpr OctetIndex<Width> kOctet;
    const __m512i rows = _mm512_mullo_epi16(_mm512_load_si512(kOctet.row),  // both bytes of a word at once
                                            _mm512_set1_epi16(static_cast<short>(stride)));
    return _mm512_add_epi8(_mm512_add_epi8(rows, _mm512_load_si512(kOctet.byte)),
                           _mm512_set1_epi8(static_cast<char>(from)));
}

// Rows of more than 8 bytes.
template <bool Long>
static void transpose_long(const std::uint8_t* rows, std::int64_t bytes, std::uint64_t* block) {
    const std::int64_t stride = Long ? 16 : bytes;
    const std::int64_t whole = bytes / 8 * 8;
    const auto begin = [&](std::int64_t column) {  // of the 16 bytes that hold the column
        return Long ? (column < bytes - 16 ? column : bytes - 16) : 0;
    };
    const __m512i even = octet_index<8>(stride, 0);
    for (int w = 0; w < kBlockWords; ++w) {
        for (std::int64_t column = 0; column < whole; column += 16) {
            const std::uint8_t* from = rows + w * 64 * bytes + begin(column);
            const __m512i first =
                _mm512_add_epi8(even, _mm512_set1_epi8(static_cast<char>(column - begin(column))));
            const __m512i second = _mm512_add_epi8(first, _mm512_set1_epi8(8));
            __m512i a[8];
            __m512i b[8];
            for (int o = 0; o < 8; ++o) {
                __m512i eight[2];
                eight_rows<Long>(from + o * 8 * bytes, bytes, eight);
                a[o] = _mm512_permutex2var_epi8(eight[0], first, eight[1]);
                b[o] = _mm512_permutex2var_epi8(eight[0], second, eight[1]);
            }
            std::uint64_t* out = block + column * 8 * kBlockWords + word_place(w);
            join<false, 8>(a, out);
            if (column + 16 <= whole) join<false, 8>(b, out + 64 * kBlockWords);
        }
    }
    for (std::int64_t column = 0; column < whole; column += 8) {
        std::uint64_t* words = block + column * 8 * kBlockWords;
        mirror_words(words, 64, words);
    }
    if (whole == bytes) return;
    const std::uint8_t* from = rows + begin(whole);
    const auto octet = [&](std::int64_t first, __m512i index) {
        __m512i eight[2];
        eight_rows<Long>(from + first * bytes, bytes, eight);
        return _mm512_permutex2var_epi8(eight[0], index, eight[1]);
    };
    std::uint64_t* out = block + whole * 8 * kBlockWords;
    if (bytes - whole > 4) {
        const __m512i index = octet_index<8>(stride, whole - begin(whole));
        transpose_octets<false, 8>([&](int w, int o) { return octet(64 * w + 8 * o, index); },
                                   8 * (bytes - whole), out);
        return;
    }
    const __m512i index = octet_index<4>(stride, whole - begin(whole));
    transpose_octets<true, 4>(
        [&](int w, int o) {
            return _mm512_mask_blend_epi64(0xf0, octet(128 * w + 8 * o, index),
                                           octet(128 * w + 64 + 8 * o, index));
        },
        8 * (bytes - whole), out);
}

static bool transpose_whole(const std::uint8_t* rows, std::int64_t bytes, std::uint64_t* block) {
    switch (bytes) {
        case 1:
            transpose_short<1>(rows, block);
            break;
        case 2:
            transpose_short<2>(rows, block);
            break;
        case 3:
            transpose_short<3>(rows, block);
            break;
        case 4:
            transpose_short<4>(rows, block);
            break;
        case 5:
            transpose_short<5>(rows, block);
            break;
        case 6:
            transpose_short<6>(rows, block);
            break;
        case 7:
            transpose_short<7>(rows, block);
            break;
        case 8:
            transpose_column(rows, 64, block);
            break;
        default:
            if (bytes <= 16) {
                transpose_long<false>(rows, bytes, block);
            } else {
                transpose_long<true>(rows, bytes, block);
            }
    }
    return true;
}
