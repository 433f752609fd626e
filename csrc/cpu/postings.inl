// Kernel "postings": which folds of some stretches lie within a bound of the query's.
//
// Contract. kernels.h. Goes on from *cursor and stops at the end of the stretches, or sooner when fewer than
// a strip's worth of places are left in `hits`, so that the caller may lower the bound. Included after
// rows.inl; `strip_within` tells the hits among up to 64 folds.
// Reason: stretches lie anywhere in memory. Each is some lines, whose latency is hidden by asking for them
// several stretches ahead; a long stretch is streamed by the processor itself.
static std::int64_t postings(const std::uint64_t* folds, const Stretch* stretches, std::int64_t n,
                             std::uint64_t query, std::int32_t bound, PostingCursor* cursor,
                             PostingHit* hits) {
    constexpr std::int64_t ahead = 12;
    std::int64_t found = 0;
    std::int64_t at = cursor->stretch;
    std::int64_t done = cursor->done;
    for (; at < n; ++at, done = 0) {
        if (at + ahead < n) __builtin_prefetch(folds + stretches[at + ahead].begin);
        const std::int64_t begin = stretches[at].begin;
        const std::int64_t count = stretches[at].count;
        for (; done < count; done += 64) {
            if (found > kPostingHits - 64) {
                cursor->stretch = at;
                cursor->done = done;
                return found;
            }
            const std::int64_t strip = count - done < 64 ? count - done : 64;
            found += strip_within(folds, begin + done, strip, query, bound, hits + found);
        }
    }
    cursor->stretch = at;
    cursor->done = 0;
    return found;
}
