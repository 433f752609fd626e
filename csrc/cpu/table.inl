// The table of this translation unit's kernels; NAME is its namespace.
#define DMTH_FAST_TABLE(NAME, QUERIES_FOR_PLANES, QUERIES_TO_TRANSPOSE, QUERIES_FOR_TAB, QUERIES_TO_SLICE, \
                        WIDTHS)                                                                            \
    static constexpr Kernels table{                                                                        \
        .name = #NAME,                                                                                     \
        .queries_for_planes = QUERIES_FOR_PLANES,                                                          \
        .queries_to_transpose = QUERIES_TO_TRANSPOSE,                                                      \
        .queries_for_tab = QUERIES_FOR_TAB,                                                                \
        .queries_to_slice = QUERIES_TO_SLICE,                                                              \
        .distances = NAME::distances_##WIDTHS,                                                             \
        .distances_at = NAME::distances_at,                                                                \
        .rows_within = NAME::rows_within_##WIDTHS,                                                         \
        .extract = NAME::extract,                                                                          \
        .transpose = NAME::transpose,                                                                      \
        .weigh = NAME::weigh,                                                                              \
        .sel = NAME::sel,                                                                                  \
        .tab = NAME::tab,                                                                                  \
        .tab_words = NAME::kVecWords,                                                                      \
        .slice = NAME::slice,                                                                              \
        .tally = NAME::tally,                                                                              \
        .postings = NAME::postings,                                                                        \
        .pack_half = NAME::pack_row<std::uint16_t>,                                                        \
        .pack_float = NAME::pack_row<float>,                                                               \
        .pack_double = NAME::pack_row<double>,                                                             \
        .pack_bool = NAME::pack_row<std::uint8_t>,                                                         \
    };                                                                                                     \
    return &table
