// Kernel "postings": which rows of some stretches lie within a bound of the query, by their folds.
//
// Contract. kernels.h. Goes on from *cursor and stops at the end of the stretches, or sooner when fewer than
// a strip's worth of places are left in `hits`, so that the caller may lower the bound. Included after
// rows.inl; `strip_within` tells the hits among up to 64 folds, their distances unset.
// Reason: stretches lie anywhere in memory and are too short for the processor to foresee, so the lines of
// those to come are asked for while others are read: always some `ahead` lines, whatever the stretches'
// lengths. Half a fold was tried, for half the lines: the bound is loose until the first neighbours are met,
// and half a fold then tells too little. Cost: reading the lines; a comparison is a cycle or less.
static std::int64_t postings(const std::uint64_t* folds, const Stretch* stretches, std::int64_t n,
                             const PostingQuery& query, std::int32_t bound, PostingCursor* cursor,
                             PostingHit* hits) {
    constexpr std::int64_t ahead = 28;
    constexpr std::int64_t line = 8;
    PostingCursor c = *cursor;
    std::int64_t found = 0;
    while (c.stretch < n && found <= kPostingHits - 64) {
        while (c.lead < ahead && c.ahead < n) {
            const Stretch& next = stretches[c.ahead];
            if (c.ahead_done < next.count) {
                __builtin_prefetch(folds + next.begin + c.ahead_done);
                c.ahead_done += line;
                ++c.lead;
            } else {  // the last line, which begins anywhere
                __builtin_prefetch(folds + next.begin + next.count - 1);
                ++c.ahead;
                c.ahead_done = 0;
            }
        }
        const Stretch& now = stretches[c.stretch];
        const std::int64_t strip = now.count - c.done < 64 ? now.count - c.done : 64;
        const std::int64_t end =
            found + strip_within(folds, now.begin + c.done, strip, query.fold, bound, hits + found);
        for (std::int64_t h = found; h < end; ++h) {
            const std::int64_t place = hits[h].place;
            const std::uint64_t differ = folds[place] ^ query.fold;
            bool fresh = true;
            for (std::int64_t i = 0; i < query.tables; ++i) {
                fresh = fresh & (popcount64(differ & query.masks[i]) > query.reached[i]);
            }
            hits[found] = {place, popcount64(differ)};
            found += fresh;
        }
        c.lead -= (strip + line - 1) / line;
        c.done += strip;
        if (c.done == now.count) {
            ++c.stretch;
            c.done = 0;
        }
    }
    *cursor = c;
    return found;
}
