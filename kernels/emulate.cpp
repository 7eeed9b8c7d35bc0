// Tensors in the emulator's memory, launches of a lowered plan, rows back.
#include "kernels/emulate.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "core/text.h"
#include "core/units.h"
#include "kernels/emulator/numerics.h"

namespace espalier::kernels {
namespace {

using emulator::GlobalMemory;
using emulator::MemoryKind;
using scheduler::Plan;
using traces::Dtype;
using traces::NodeId;
using traces::RequestId;

constexpr std::int64_t kMostTensorBytes = std::int64_t{4} << 30;
constexpr float kLog2E = 1.4426950408889634F;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

/// Bits of a number that the dtype holds exactly.
std::uint32_t bits_of(Dtype dtype, double x) {
  const auto value = static_cast<float>(x);
  switch (dtype) {
    case Dtype::bf16: return emulator::float_to_bf16(value);
    case Dtype::fp16: return emulator::float_to_fp16(value);
    case Dtype::fp8_e4m3: return emulator::float_to_fp8_e4m3(value);
    case Dtype::fp32: return std::bit_cast<std::uint32_t>(value);
  }
  ESPALIER_CHECK(!"a known dtype");
}

double number_of(Dtype dtype, const std::byte* from) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, from, at(traces::dtype_bytes(dtype)));
  switch (dtype) {
    case Dtype::bf16: return emulator::bf16_to_float(static_cast<std::uint16_t>(bits));
    case Dtype::fp16: return emulator::fp16_to_float(static_cast<std::uint16_t>(bits));
    case Dtype::fp8_e4m3: return emulator::fp8_e4m3_to_float(static_cast<std::uint8_t>(bits));
    case Dtype::fp32: return std::bit_cast<float>(bits);
  }
  ESPALIER_CHECK(!"a known dtype");
}

void store(std::vector<std::byte>& bytes, std::int64_t element, Dtype dtype, double x) {
  const std::uint32_t bits = bits_of(dtype, x);
  const auto size = at(traces::dtype_bytes(dtype));
  std::memcpy(&bytes[at(element) * size], &bits, size);
}

/// A cache laid out [page][kv head][token in page][column]; where no token lies, NaN.
struct Cache {
  std::vector<std::byte> keys, values;
};

std::int64_t cache_pages(const traces::PrefixForest& forest) {
  std::int64_t pages = 0;
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    for (std::int64_t logical = forest.pages.first_page[n]; logical <= traces::last_page(forest.pages, n, forest.tokens[n]); ++logical) {
      pages = std::max(pages, 1 + (forest.pages.page_ids.empty() ? logical : forest.pages.page_ids[at(logical)]));
    }
  }
  return pages;
}

Cache make_cache(const Plan& plan, const TensorSource& source) {
  const traces::HeadConfig& heads = plan.heads;
  const std::int64_t size = plan.forest.pages.page_size;
  const std::int64_t rows = core::checked_mul(core::checked_mul(cache_pages(plan.forest), size), heads.kv_heads);
  const std::int64_t bytes = core::checked_mul(rows, heads.kv_bytes_per_token_head());
  if (bytes > kMostTensorBytes) {
    throw core::Error(core::ErrorKind::check_failed, fmt::format("a KV cache of {} is too large to emulate (limit {}): use a smaller forest, or page ids without gaps",
                                                                 core::bytes_text(bytes), core::bytes_text(kMostTensorBytes)));
  }
  const int element = traces::dtype_bytes(heads.kv_dtype);
  Cache cache;
  cache.keys.assign(at(rows * heads.qk_dim * element), std::byte{0xFF});
  if (!heads.v_in_k) cache.values.assign(at(rows * heads.v_dim * element), std::byte{0xFF});
  std::vector<double> key(at(heads.qk_dim)), value(at(heads.v_dim));
  for (const NodeId n : core::ids<NodeId>(plan.forest.node_count())) {
    for (std::int64_t t = 0; t < plan.forest.tokens[n]; ++t) {
      const std::int64_t slot = traces::kv_slot(plan.forest.pages, n, t);
      for (std::int32_t h = 0; h < heads.kv_heads; ++h) {
        const std::int64_t row = (slot / size * heads.kv_heads + h) * size + slot % size;
        source.key(plan.forest, heads, n, t, h, key.data());
        for (std::int64_t c = 0; c < heads.qk_dim; ++c) store(cache.keys, row * heads.qk_dim + c, heads.kv_dtype, key[at(c)]);
        if (heads.v_in_k) continue;
        source.value(plan.forest, heads, n, t, h, value.data());
        for (std::int64_t c = 0; c < heads.v_dim; ++c) store(cache.values, row * heads.v_dim + c, heads.kv_dtype, value[at(c)]);
      }
    }
  }
  return cache;
}

std::vector<std::byte> make_queries(const Plan& plan, const TensorSource& source) {
  const traces::HeadConfig& heads = plan.heads;
  const auto rows = static_cast<std::int64_t>(plan.forest.request_count()) * heads.q_heads;
  std::vector<std::byte> bytes(at(rows * heads.qk_dim * traces::dtype_bytes(heads.q_dtype)));
  std::vector<double> query(at(heads.qk_dim));
  for (std::int64_t row = 0; row < rows; ++row) {
    source.query(plan.forest, heads, RequestId(static_cast<std::int32_t>(row / heads.q_heads)), static_cast<std::int32_t>(row % heads.q_heads), query.data());
    for (std::int64_t c = 0; c < heads.qk_dim; ++c) store(bytes, row * heads.qk_dim + c, heads.q_dtype, query[at(c)]);
  }
  return bytes;
}

/// Everything a launch needs, in the emulator's memory.
class Run {
 public:
  Run(const Plan& plan, const DevicePlan& lowered, const TensorSource& source, const EmulateOptions& options)
      : plan_(plan), lowered_(lowered), options_(options), machine_(memory_, options.machine) {
    upload_plan();
    upload_tensors(source);
  }

  Emulation run() {
    for (const DeviceLaunch& launch : lowered_.launches) {
      if (launch.attend != nullptr) attend(launch);
      else reduce(launch);
    }
    return {read_back(), machine_.counters()};
  }

 private:
  template <class T>
  const T* column(const char* name, const std::vector<T>& values) {
    return memory_.upload(name, MemoryKind::plan, values);
  }
  template <class Id>
  const std::int32_t* ids(const char* name, const std::vector<Id>& values) {
    static_assert(sizeof(Id) == sizeof(std::int32_t));
    return reinterpret_cast<const std::int32_t*>(column(name, values));
  }

  void upload_plan() {
    const traces::PageTable& pages = plan_.forest.pages;
    columns_.segments = column("segments", plan_.segments);
    columns_.tasks = column("tasks", plan_.tasks.raw());
    columns_.query_rows = ids("query rows", plan_.query_rows);
    columns_.fold_slots = ids("folds", plan_.fold_slots);
    columns_.slots = column("slots", plan_.slots.raw());
    columns_.steps = column("steps", plan_.steps.raw());
    columns_.reduction_inputs = column("reduction inputs", plan_.reduction_inputs);
    columns_.node_tokens = column("node tokens", plan_.forest.tokens.raw());
    columns_.node_first_page = column("first pages", pages.first_page.raw());
    columns_.node_first_offset = column("first offsets", pages.first_offset.raw());
    columns_.page_ids = pages.page_ids.empty() ? nullptr : column("page ids", pages.page_ids);
    columns_.page_size = pages.page_size;
    columns_.facts = column("task facts", lowered_.facts);
    columns_.arrivals = column("arrivals", lowered_.arrivals);
    if (!lowered_.task_arrivals.empty()) task_arrivals_ = column("task arrivals", lowered_.task_arrivals);
    columns_.step_arrivals = column("step arrivals", lowered_.step_arrivals);
    items_ = column("items", lowered_.items);
    queue_items_ = column("queue items", plan_.queue_items);
    queues_ = column("queues", plan_.queues);
    counters_ = static_cast<std::uint32_t*>(
        memory_.allocate_zeroed("counters", MemoryKind::counters, at(workspace_size(plan_, lowered_).counter_bytes)));
  }

  PagedRows rows_of(const void* base, std::int64_t columns) const {
    const std::int64_t row = columns * traces::dtype_bytes(plan_.heads.kv_dtype);
    const std::int64_t head = row * plan_.forest.pages.page_size;
    return {base, head * plan_.heads.kv_heads, row, head};
  }

  void upload_tensors(const TensorSource& source) {
    const traces::HeadConfig& heads = plan_.heads;
    const auto rows = static_cast<std::int64_t>(plan_.forest.request_count()) * heads.q_heads;
    tensors_.queries = memory_.upload("queries", MemoryKind::query, make_queries(plan_, source));
    const Cache cache = make_cache(plan_, source);
    tensors_.keys = rows_of(memory_.upload("keys", MemoryKind::kv, cache.keys), heads.qk_dim);
    tensors_.values = rows_of(heads.v_in_k ? nullptr : memory_.upload("values", MemoryKind::kv, cache.values), heads.v_dim);
    tensors_.workspace = memory_.allocate("workspace", MemoryKind::partials, at(plan_.workspace_bytes));
    tensors_.rows = rows_ = memory_.allocate("rows", MemoryKind::output, at(rows * heads.v_dim * traces::dtype_bytes(options_.row_dtype)));
    tensors_.lse = static_cast<float*>(memory_.allocate("log-sum-exps", MemoryKind::lse, at(rows) * sizeof(float)));
    tensors_.q_heads = heads.q_heads;
    tensors_.group = heads.group();
    tensors_.row_dtype = options_.row_dtype;
    tensors_.scale_log2 = static_cast<float>(heads.softmax_scale()) * kLog2E;
  }

  void attend(const DeviceLaunch& launch) {
    AttendParams params{};
    params.plan = columns_;
    params.plan.task_arrivals = launch.arrivals ? task_arrivals_ : nullptr;
    params.tensors = tensors_;
    const bool queued = launch.queue_begin >= 0;
    params.items = queued ? queue_items_ : items_ + launch.items.begin;
    params.queues = queued ? queues_ + launch.queue_begin : nullptr;
    params.counters = counters_;
    params.arrival_counters = lowered_.counters;
    if (launch.merge.rows > 0) {
      params.barrier_steps = column("barrier steps", launch.merge.steps);
      params.barrier_step_count = static_cast<std::int32_t>(launch.merge.steps.size());
      params.barrier_rows = launch.merge.rows;
    }
    const AttendInstance& kernel = *launch.attend;
    machine_.launch({kernel.name, static_cast<std::uint32_t>(launch.blocks), kernel.threads, kernel.shared_bytes, launch.cooperative()},
                    [&] { kernel.kernel(params); });
  }

  void reduce(const DeviceLaunch& launch) {
    const ReduceParams params{columns_, tensors_, column("merge steps", launch.merge.steps),
                              static_cast<std::int32_t>(launch.merge.steps.size()), launch.merge.rows};
    const ReduceInstance& kernel = *launch.reduce;
    machine_.launch({kernel.name, static_cast<std::uint32_t>(launch.blocks), kernel.threads, 0, false}, [&] { kernel.kernel(params); });
  }

  AttentionOutput read_back() const {
    AttentionOutput out = make_output(plan_.forest, plan_.heads, 0.0);
    const auto size = at(traces::dtype_bytes(options_.row_dtype));
    for (std::size_t i = 0; i < out.rows.size(); ++i) out.rows[i] = number_of(options_.row_dtype, static_cast<const std::byte*>(rows_) + i * size);
    for (std::size_t i = 0; i < out.lse.size(); ++i) out.lse[i] = static_cast<double>(tensors_.lse[i]);
    return out;
  }

  const Plan& plan_;
  const DevicePlan& lowered_;
  const EmulateOptions& options_;
  GlobalMemory memory_;
  emulator::Machine machine_;
  PlanColumns columns_{};
  Tensors tensors_{};
  const scheduler::Interval* task_arrivals_ = nullptr;
  const scheduler::QueueItem *items_ = nullptr, *queue_items_ = nullptr;
  const scheduler::Interval* queues_ = nullptr;
  std::uint32_t* counters_ = nullptr;
  void* rows_ = nullptr;
};

}  // namespace

const KernelSet& host_kernels() {
  static const KernelSet kernels = [] {
    KernelSet set;
    for (const auto list : {on_host::attend_narrow(), on_host::attend_standard(), on_host::attend_standard_fp16(), on_host::attend_standard_fp8(),
                            on_host::attend_wide(), on_host::attend_latent()}) {
      set.attend.insert(set.attend.end(), list.begin(), list.end());
    }
    const auto reduce = on_host::reduce_instances();
    set.reduce.assign(reduce.begin(), reduce.end());
    return set;
  }();
  return kernels;
}

Emulation emulate(const Plan& plan, const TensorSource& source, const EmulateOptions& options) {
  traces::check_heads(plan.heads, "plan: heads");
  const DevicePlan lowered = lower_plan(plan, host_kernels());
  return Run(plan, lowered, source, options).run();
}

double emulation_cost(const Plan& plan) {
  constexpr double kMmaFlops = 2.0 * 16 * 8 * 16;
  const auto kernels = scheduler::task_kernels(plan);
  double mmas = 0;
  for (const scheduler::TaskId t : core::ids<scheduler::TaskId>(plan.tasks.size())) {
    if (plan.tasks[t].kind != scheduler::TaskKind::attend || !kernels[t].valid()) continue;
    const auto counts = costmodel::count_task(scheduler::task_shape(plan, plan.tasks[t]), plan.kernels[kernels[t]], plan.heads);
    mmas += static_cast<double>(counts.mma_flops + counts.fma_flops) / kMmaFlops * plan.tasks[t].copies;
  }
  return mmas;
}

}  // namespace espalier::kernels
