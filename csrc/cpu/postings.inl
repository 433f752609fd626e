// Kernel "postings": which folds of some stretches lie within a bound of the query's.
//
// Contract. kernels.h. Goes on from *cursor and stops at the end of the stretches, or sooner when fewer than
// a strip's worth of places are left in `hits`, so that the caller may lower the bound. Included after
// rows.inl; `strip_within` tells the hits among up to 64 folds.
// Reason: stretches lie anywhere in memory and are too short for the processor to foresee, so the lines of
// those to come are asked for while others are read: always some kLead lines, whatever the stretches'
// lengths. Cost: reading them; a comparison is half a cycle (AVX-512) to two.
static std::int64_t postings(const std::uint64_t* folds, const Stretch* stretches, std::int64_t n,
                             std::uint64_t query, std::int32_t bound, PostingCursor* cursor,
                             PostingHit* hits) {
    constexpr std::int64_t lead = 28;
    PostingCursor c = *cursor;
    std::int64_t found = 0;
    while (c.stretch < n && found <= kPostingHits - 64) {
        while (c.lead < lead && c.ahead < n) {
            const Stretch& ahead = stretches[c.ahead];
            if (c.ahead_done < ahead.count) {
                __builtin_prefetch(folds + ahead.begin + c.ahead_done);
                c.ahead_done += 8;
                ++c.lead;
            } else {  // the last line, which begins anywhere
                __builtin_prefetch(folds + ahead.begin + ahead.count - 1);
                ++c.ahead;
                c.ahead_done = 0;
            }
        }
        const Stretch& now = stretches[c.stretch];
        const std::int64_t strip = now.count - c.done < 64 ? now.count - c.done : 64;
        found += strip_within(folds, now.begin + c.done, strip, query, bound, hits + found);
        c.lead -= (strip + 7) / 8;
        c.done += strip;
        if (c.done == now.count) {
            ++c.stretch;
            c.done = 0;
        }
    }
    *cursor = c;
    return found;
}
