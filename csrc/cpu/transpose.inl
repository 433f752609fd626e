// Kernel "transpose": up to 512 rows to one block of bit planes.
//
// Contract. planes.h; rows beyond n become zero rows. Included inside the target region of each instruction
// set, which gives transpose_64x8: 64 rows of 8 bytes to 64 words, one a plane. Reason. Rows are cut into
// columns of 8 bytes, so one kernel of fixed shape serves every width. The planes of the weights are the sum
// of all planes, through the adders of kernel "sel". Cost. At 64 bits, about as much as a dozen queries spend
// on the block; an index pays it once.

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

static void weigh(const PlaneLayout& layout, std::uint64_t* block) {
    for (std::int64_t part = 0; part < kBlockWords; part += kVecWords) {
        Vec sums[13];
        for (Vec& sum : sums) sum = zero();
        for (int j = 0; j < layout.planes; j += 8) {
            ripple<13, 3>(sums, add_neighbours<3>(block + part + j * kBlockWords, sums));
        }
        for (int j = 0; j < layout.levels; ++j) {
            store(block + layout.weight() + part + j * kBlockWords, complement(sums[j]));
        }
        store(block + layout.zero() + part, zero());
    }
}

static void transpose(const std::uint8_t* rows, std::int64_t n, std::int64_t bytes, std::uint64_t* block) {
    const PlaneLayout layout(bytes);
    std::uint64_t column[64];
    for (std::int64_t word = 0; word < kBlockWords; ++word) {
        const std::int64_t first = word * 64;
        const std::int64_t left = n - first;
        const std::int64_t count = left < 0 ? 0 : left < 64 ? left : 64;
        for (std::int64_t byte = 0; byte < bytes; byte += 8) {
            const std::int64_t width = bytes - byte < 8 ? bytes - byte : 8;
            const std::uint8_t* from = rows + first * bytes + byte;
            if (bytes == 8 && count == 64) {
                transpose_64x8(from, width * 8, block + byte * 8 * kBlockWords + word);
                continue;
            }
            if (width == 8) {
                for (std::int64_t i = 0; i < count; ++i) column[i] = load_word(from + i * bytes);
            } else {
                for (std::int64_t i = 0; i < count; ++i) column[i] = load_tail(from + i * bytes, width);
            }
            for (std::int64_t i = count; i < 64; ++i) column[i] = 0;
            transpose_64x8(reinterpret_cast<const std::uint8_t*>(column), width * 8,
                           block + byte * 8 * kBlockWords + word);
        }
    }
    weigh(layout, block);
}
