// The CUDA verbs on the emulated device, for ctypes: the kernels and the plan as they are, memory as it
// comes.
//
// Workspaces are exactly as large as the plan says, start as garbage and end in a guard that must stay
// untouched.
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <string>

#include "../../csrc/cuda/device.h"
#include "../../csrc/cuda/verbs.h"

namespace {

using namespace dmth_fast;
using namespace dmth_fast::cuda;

std::string last_error;

class Memory {
  public:
    explicit Memory(std::int64_t bytes) : bytes_(bytes) {
        data_ =
            static_cast<unsigned char*>(std::aligned_alloc(256, static_cast<std::size_t>(bytes) + kGuard));
        std::memset(data_, 0xa5, static_cast<std::size_t>(bytes) + kGuard);
    }
    ~Memory() { std::free(data_); }
    void* data() { return data_; }
    void check_guard() const {
        for (std::size_t i = 0; i < kGuard; ++i) {
            if (data_[bytes_ + static_cast<std::int64_t>(i)] != 0xa5)
                throw std::runtime_error("workspace overrun");
        }
    }

  private:
    static constexpr std::size_t kGuard = 256;
    std::int64_t bytes_;
    unsigned char* data_;
};

struct Setup {
    Machine machine;
    explicit Setup(int multiprocessors, int shared_bytes, unsigned seed)
        : machine{multiprocessors, shared_bytes, 9, 0, true} {
        emulator::device().random.seed(seed);
        emulator::device().launches = 0;
        emulator::device().most_shared = static_cast<std::size_t>(shared_bytes + kMostStaticShared);
        emulator::device().asked.clear();
        emulator::device().error = cudaSuccess;
    }
};

__global__ void own_kernel() {
    __shared__ unsigned char own[5000];
    own_shared(own);
    own[threadIdx.x] = dynamic_shared()[threadIdx.x];
}

template <class Body>
int guarded(const Body& body) {
    try {
        body();
        return 0;
    } catch (const std::exception& error) {
        last_error = error.what();
        return 1;
    }
}

}  // namespace

extern "C" {

const char* emulation_error() {
    return last_error.c_str();
}
long long emulation_launches() {
    return emulator::device().launches;
}

// The plan of a search as numbers: workspace, queries a pass, capacity, rows of the bound, number of stages;
// then for the bound, the counting and each stage: first row, end, method, tile, warps, splits, rows a split.
int emulate_search_plan(long long rows, long long queries, int bytes, long long k, int method,
                        int multiprocessors, int shared_bytes, int major, long long budget, long long* out) {
    return guarded([&] {
        const SearchPlan plan = plan_search(rows, queries, bytes, k, static_cast<Method>(method),
                                            {multiprocessors, shared_bytes, major, 0, major == 9}, budget);
        const auto cut = [&](long long first, long long end, Method how, const Cut& c) {
            for (const long long number :
                 {first, end, static_cast<long long>(how), static_cast<long long>(c.tile),
                  static_cast<long long>(c.warps), static_cast<long long>(c.splits),
                  static_cast<long long>(c.rows_per_split)}) {
                *out++ = number;
            }
        };
        for (const long long number : {plan.workspace_bytes, plan.queries_per_pass, plan.capacity,
                                       plan.bound_rows, static_cast<std::int64_t>(plan.stages.size())}) {
            *out++ = number;
        }
        cut(0, plan.bound_rows, Method::kPopcount, plan.bound_cut);
        cut(0, plan.rows, Method::kPopcount, plan.count_cut);
        for (const Stage& stage : plan.stages) cut(stage.first, stage.end, stage.method, stage.cut);
    });
}

int emulate_search(const std::uint8_t* codes, long long rows, int bytes, const std::uint8_t* queries,
                   long long count, long long k, const std::uint8_t* filter, int method, int multiprocessors,
                   int shared_bytes, long long budget, unsigned seed, std::int32_t* distances,
                   std::int64_t* ids) {
    return guarded([&] {
        const Setup setup(multiprocessors, shared_bytes, seed);
        const SearchPlan plan =
            plan_search(rows, count, bytes, k, static_cast<Method>(method), setup.machine, budget);
        Memory workspace(plan.workspace_bytes);
        search({codes, rows, bytes}, {queries, count, bytes}, filter, plan, workspace.data(), distances, ids,
               nullptr);
        workspace.check_guard();
    });
}

int emulate_range_count(const std::uint8_t* codes, long long rows, int bytes, const std::uint8_t* queries,
                        long long count, int radius, const std::uint8_t* filter, int multiprocessors,
                        int shared_bytes, long long budget, unsigned seed, std::int64_t* counts) {
    return guarded([&] {
        const Setup setup(multiprocessors, shared_bytes, seed);
        const RangePlan plan = plan_range(rows, count, bytes, setup.machine, budget);
        Memory workspace(plan.workspace_bytes);
        range_count({codes, rows, bytes}, {queries, count, bytes}, filter, radius, plan, workspace.data(),
                    counts, nullptr);
        workspace.check_guard();
    });
}

// Counts, then writes, as the ops do; `counts` holds the offsets (count + 1) in, from emulate_range_count.
int emulate_range_search(const std::uint8_t* codes, long long rows, int bytes, const std::uint8_t* queries,
                         long long count, int radius, const std::uint8_t* filter, int multiprocessors,
                         int shared_bytes, long long budget, unsigned seed, const std::int64_t* offsets,
                         std::int32_t* distances, std::int64_t* ids) {
    return guarded([&] {
        const Setup setup(multiprocessors, shared_bytes, seed);
        const RangePlan plan = plan_range(rows, count, bytes, setup.machine, budget);
        Memory workspace(plan.workspace_bytes);
        const auto counts = std::make_unique<std::int64_t[]>(static_cast<std::size_t>(count));
        const Codes database{codes, rows, bytes}, wanted{queries, count, bytes};
        range_count(database, wanted, filter, radius, plan, workspace.data(), counts.get(), nullptr);
        range_write(database, wanted, filter, radius, plan, workspace.data(), offsets, distances, ids,
                    nullptr);
        workspace.check_guard();
    });
}

int emulate_distances(const std::uint8_t* codes, long long rows, int bytes, const std::uint8_t* queries,
                      long long count, int multiprocessors, unsigned seed, std::int32_t* out) {
    return guarded([&] {
        const Setup setup(multiprocessors, 219 * 1024, seed);
        hamming_distances({codes, rows, bytes}, {queries, count, bytes}, out, setup.machine, nullptr);
    });
}

int emulate_histograms(const std::uint8_t* codes, long long rows, int bytes, const std::uint8_t* queries,
                       long long count, const std::int64_t* row_classes, const std::int64_t* query_classes,
                       const std::uint64_t* row_masks, const std::uint64_t* query_masks, long long words,
                       int method, int multiprocessors, int shared_bytes, unsigned seed, std::int64_t* all,
                       std::int64_t* relevant) {
    return guarded([&] {
        const Setup setup(multiprocessors, shared_bytes, seed);
        histograms({codes, rows, bytes}, {queries, count, bytes}, {row_classes, row_masks, words},
                   {query_classes, query_masks, words}, all, relevant, static_cast<Method>(method),
                   setup.machine, nullptr);
    });
}

// A kernel of 5,000 bytes of shared memory of its own, started with `shared` more: as it comes, or after
// asking for `asked` of them (when not negative).
int emulate_shared(int shared_bytes, int shared, int asked) {
    return guarded([&] {
        const Setup setup(4, shared_bytes, 1);
        const auto kernel = reinterpret_cast<const void*>(own_kernel);
        if (asked >= 0) {
            check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, asked), "asking");
        }
        emulator::launch(dim3(2), 64, static_cast<std::size_t>(shared), kernel, own_kernel);
        check(cudaGetLastError(), "launching");
    });
}

int emulate_products(int method, int bits, long long repeats, int multiprocessors, long long threads,
                     std::int32_t* out) {
    return guarded([&] {
        const Setup setup(multiprocessors, 48 * 1024, 1);
        if (product_threads(setup.machine) != threads) throw std::runtime_error("another number of threads");
        repeat_products(static_cast<Method>(method), bits, repeats, out, setup.machine, nullptr);
    });
}

int emulate_pack(const void* values, int type, long long rows, long long bits, double threshold,
                 unsigned seed, std::uint8_t* out, unsigned long long* first_nan) {
    return guarded([&] {
        const Setup setup(4, 48 * 1024, seed);
        pack(values, static_cast<Element>(type), rows, bits, threshold, out, first_nan, nullptr);
    });
}
}
