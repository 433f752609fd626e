// Folds one at a time. A hit is written in any case and counted if it is one: what passes is hard to
// foretell. One entry beyond the hits may be written.
static inline std::int64_t strip_within(const std::uint64_t* folds, std::int64_t begin, std::int64_t n,
                                        std::uint64_t query, std::int32_t bound, PostingHit* hits) {
    std::int64_t found = 0;
    for (std::int64_t i = begin; i < begin + n; ++i) {
        hits[found].place = i;
        found += popcount64(folds[i] ^ query) <= bound;
    }
    return found;
}
