// Kernel "transpose": up to 512 rows to one block of bit planes.
//
// Contract. planes.h; rows beyond n become zero rows. Included inside the target region of each instruction
// set, which gives transpose_column: 512 rows of 8 bytes to the words of 64 planes or less; and
// transpose_whole: all planes of 512 rows of any length, or false. Reason. Rows are cut into columns of 8
// bytes, so one kernel of fixed shape serves every width. Kernel "weigh" makes the planes of the weights, the
// sum of all planes, through the adders of kernel "sel"; kernel "tab" does without. Cost. At 64 bits, what 6
// to 8 queries save by it (kernels.h, queries_to_transpose); an index pays it once.

template <int K>
DMTH_FAST_INLINE Vec add_neighbours(const std::uint64_t* plane, Vec* sums) {
    if constexpr (K == 0) {
        return load(plane);
    } else {
        const Vec a = add_neighbours<K - 1>(plane, sums);
        const Vec b = add_neighbours<K - 1>(plane + (kBlockWords << (K - 1)), sums);
        return full_add(sums[K - 1], a, b);
    }
}

template <int L>
static void weigh_planes(const PlaneLayout& layout, std::uint64_t* block) {
    for (std::int64_t part = 0; part < kBlockWords; part += kVecWords) {
        Vec sums[L];
#pragma GCC unroll 16
        for (int j = 0; j < L; ++j) sums[j] = zero();
        for (int j = 0; j < layout.planes; j += 8) {
            ripple<L, 3>(sums, add_neighbours<3>(block + part + j * kBlockWords, sums));
        }
#pragma GCC unroll 16
        for (int j = 0; j < L; ++j)
            store(block + layout.weight() + part + j * kBlockWords, complement(sums[j]));
        store(block + layout.zero() + part, zero());
    }
}

// 8 bytes of each row from `from` on, `width` of which belong to it; `end` is the end of the codes.
static void gather_column(const std::uint8_t* from, std::int64_t n, std::int64_t bytes, std::int64_t width,
                          const std::uint8_t* end, std::uint64_t* column) {
    const std::int64_t behind =
        n * bytes - 8 - (from - (end - n * bytes));  // the last row that 8 bytes can be read of
    const std::int64_t safe = behind < 0 ? 0 : behind / bytes + 1 < n ? behind / bytes + 1 : n;
    if (width == 8) {
#pragma GCC unroll 4
        for (std::int64_t i = 0; i < safe; ++i) column[i] = load_word(from + i * bytes);
    } else {
        const std::uint64_t mask = ~std::uint64_t{0} >> (64 - 8 * width);
#pragma GCC unroll 4
        for (std::int64_t i = 0; i < safe; ++i) column[i] = load_word(from + i * bytes) & mask;
        for (std::int64_t i = safe; i < n; ++i) column[i] = load_tail(from + i * bytes, width);
    }
    for (std::int64_t i = n; i < kBlockRows; ++i) column[i] = 0;
}

static void transpose(const std::uint8_t* rows, std::int64_t n, std::int64_t bytes, std::uint64_t* block) {
    if (n == kBlockRows && transpose_whole(rows, bytes, block)) return;
    alignas(64) std::uint64_t column[kBlockRows];
    for (std::int64_t byte = 0; byte < bytes; byte += 8) {
        const std::int64_t width = bytes - byte < 8 ? bytes - byte : 8;
        const auto* words = reinterpret_cast<const std::uint8_t*>(column);
        if (bytes == 8 && n == kBlockRows) {
            words = rows;
        } else {
            gather_column(rows + byte, n, bytes, width, rows + n * bytes, column);
        }
        transpose_column(words, width * 8, block + byte * 8 * kBlockWords);
    }
}

static void weigh(std::int64_t bytes, std::uint64_t* block) {
    const PlaneLayout layout(bytes);
    switch (layout.levels) {
        case 6:
            return weigh_planes<6>(layout, block);
        case 7:
            return weigh_planes<7>(layout, block);
        case 8:
            return weigh_planes<8>(layout, block);
        case 9:
            return weigh_planes<9>(layout, block);
        case 10:
            return weigh_planes<10>(layout, block);
        default:
            break;
    }
    if (layout.levels == 11) return weigh_planes<11>(layout, block);
    if (layout.levels == 12) return weigh_planes<12>(layout, block);
    weigh_planes<13>(layout, block);
}
