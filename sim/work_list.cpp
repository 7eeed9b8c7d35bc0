// Counts and hit fractions of every task and step, turned into kinds, classes and runs.
#include "sim/work_list.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <numeric>
#include <tuple>
#include <unordered_map>

#include "core/error.h"
#include "core/units.h"
#include "scheduler/multicast.h"
#include "sim/reuse.h"

namespace espalier::sim {
namespace {

using costmodel::KernelConfig;
using costmodel::KernelRole;
using costmodel::TaskShape;
using costmodel::WorkCounts;
using scheduler::Plan;
using scheduler::StepId;
using scheduler::TaskId;
using scheduler::TaskKind;

/// Miss fractions are rounded up to this grid, so that flows never carry fewer HBM bytes than the counts say.
constexpr double kMissSteps = 64;
/// Merges and softmax: pipe cycles a byte, rounded up to this many steps an octave, so that like shapes share a class.
constexpr double kCycleSteps = 64;
/// Partial rows a merge keeps requested per output row: published merge kernels read four at a step or have four copy
/// stages.
constexpr std::int64_t kMergeInputsInFlight = 4;
/// Bytes a thread of the softmax kernel keeps requested: four 16-byte loads (assumed).
constexpr std::int64_t kSoftmaxBytesPerThread = 64;
/// Partial rows and scores stay in L2 while all of them are under this share of its capacity.
constexpr double kResidentShare = 0.5;
/// Devices before this have no clusters: a kernel that asks for them runs without.
constexpr double kClusterCapability = 9;

double round_miss(double miss) { return std::min(1.0, std::ceil(miss * kMissSteps - 1e-9) / kMissSteps); }

double round_cycles(double cycles) {
  if (cycles <= 0) return 0;
  int exponent = 0;
  const double mantissa = std::frexp(cycles, &exponent);
  return std::ldexp(std::ceil(mantissa * 2 * kCycleSteps) / (2 * kCycleSteps), exponent);
}

/// 2^64 / golden ratio: products with it spread neighbours over all bits.
constexpr std::uint64_t kSpread = 0x9e3779b97f4a7c15ULL;

/// Everything that decides the kind of a task's CTAs.
struct TaskKey {
  std::int32_t kernel = 0;
  TaskShape shape;
  double miss = 0;
  std::int32_t mates = 1;  ///< CTAs that share each load of the KV, this one counted
  std::int64_t pages = 0;  ///< its KV lies on, where going from one to the next costs something
  friend bool operator==(const TaskKey&, const TaskKey&) = default;
};

struct TaskKeyHash {
  std::size_t operator()(const TaskKey& key) const {
    auto h = static_cast<std::uint64_t>(key.miss * kMissSteps * key.mates);
    for (std::int64_t field :
         {std::int64_t{key.kernel}, static_cast<std::int64_t>(key.shape.role), std::int64_t{key.shape.queries},
          std::int64_t{key.shape.heads}, key.shape.kv_tokens, key.shape.visible_pairs, std::int64_t{key.shape.segments},
          std::int64_t{key.shape.writes_partial}, key.shape.folded_rows, key.shape.folded_columns, key.pages}) {
      h = (h ^ static_cast<std::uint64_t>(field)) * kSpread;
      h ^= h >> 32;
    }
    return static_cast<std::size_t>(h);
  }
};

struct KindHash {
  std::size_t operator()(const CtaKind& kind) const {
    std::uint64_t h = static_cast<std::uint64_t>(kind.main_class) * 64 + static_cast<std::uint64_t>(kind.io_class);
    for (const double field : {kind.main_bytes, kind.io_bytes, kind.exposed_us, kind.burst_us, kind.end_us}) {
      h = (h ^ std::bit_cast<std::uint64_t>(field)) * kSpread;
      h ^= h >> 32;
    }
    return static_cast<std::size_t>(h);
  }
};

struct Priced {
  std::int32_t kind = 0;
  WorkCounts counts;
};

class ListMaker {
 public:
  ListMaker(const Plan& plan, const costmodel::DeviceSpec& device, KvReuse reuse) : plan_(plan), device_(device) {
    hits_ = reuse == KvReuse::none ? core::Column<TaskId, double>(plan.tasks.size())
                                   : kv_hit_fractions(plan, device, reuse == KvReuse::warm);
    on_cpu_ = std::any_of(plan.kernels.begin(), plan.kernels.end(),
                          [](const KernelConfig& kernel) { return kernel.engine == costmodel::Engine::cpu; });
    walks_pages_ = device.page_ns > 0 && is_paged(plan.forest.pages);
    share_loads();
    count_occupancy();
    decide_residency();
  }

  WorkList make() && {
    list_.phases.resize(plan_.phases.size());
    list_.works.reserve(plan_.tasks.size() + plan_.steps.size());
    for (std::size_t p = 0; p < plan_.phases.size(); ++p) add_phase(p);
    total_traffic();
    return std::move(list_);
  }

 private:
  void count_occupancy() {
    per_sm_.resize(plan_.kernels.size());
    for (const scheduler::Phase& phase : plan_.phases) {
      const KernelConfig& kernel = plan_.kernels[phase.kernel];
      std::int32_t& ctas = per_sm_[phase.kernel.index()];
      if (ctas > 0) continue;
      ctas = costmodel::ctas_per_sm(kernel, plan_.heads, device_);
      if (ctas < 1) {
        throw core::bad_input("kernel " + kernel.name, "one that fits " + device_.name,
                              costmodel::unfit_reason(kernel, plan_.heads, device_));
      }
      list_.sm_units = std::lcm(list_.sm_units, std::int64_t{ctas});
    }
  }

  /// A cluster's CTAs load together what its first task alone would: of what misses, each has its part.
  void share_loads() {
    if (device_.compute_capability < kClusterCapability) return;
    const std::vector<scheduler::Multicast> found = scheduler::multicasts(plan_);
    if (!found.empty()) clusters_ = core::Column<TaskId, Share>(plan_.tasks.size());
    for (const scheduler::Multicast& cluster : found) {
      const double hit = 1 - (1 - hits_[cluster.first]) / cluster.count;
      for (TaskId t = cluster.first; t.value < cluster.first.value + cluster.count; ++t.value) {
        clusters_[t] = {cluster.count, t == cluster.first};
        hits_[t] = hit;
      }
    }
  }

  void decide_residency() {
    // Slots at one offset share storage (in-place merges): the largest counts.
    std::map<std::pair<bool, std::int64_t>, double> storage;
    for (const scheduler::Slot& slot : plan_.slots) {
      const double elements =
          static_cast<double>(slot.queries.size()) * slot.head_count * static_cast<double>(slot.columns);
      double& bytes = storage[{slot.kind == scheduler::SlotKind::scores, slot.offset}];
      bytes = std::max(bytes, elements * traces::dtype_bytes(slot.dtype));
    }
    double partials = 0, scores = 0;
    for (const auto& [place, bytes] : storage) (place.first ? scores : partials) += bytes;
    const double room = kResidentShare * device_.l2_knee_mib * 1024.0 * 1024.0;
    partial_miss_ = partials < room ? 0 : 1;
    // A core fetches a line before it writes a part of it.
    written_miss_ = on_cpu_ ? 1 : partial_miss_;
    score_miss_ = scores < room ? 0 : 1;
    // Every query row comes from HBM once; other tasks that need it find it in L2.
    double asked = 0;
    for (const scheduler::Task& task : plan_.tasks) {
      if (task.kind != TaskKind::attend && task.kind != TaskKind::scores) continue;
      asked += static_cast<double>(task.queries.size()) * task.head_count * task.copies;
    }
    const double unique = static_cast<double>(plan_.forest.request_count()) * plan_.heads.q_heads;
    query_miss_ = asked > unique ? unique / asked : 1;
  }

  void add_phase(std::size_t p) {
    const scheduler::Phase& phase = plan_.phases[p];
    PhaseWork& out = list_.phases[p];
    out.need = list_.sm_units / per_sm_[phase.kernel.index()];
    out.works.begin = static_cast<std::int32_t>(list_.works.size());
    for (std::int32_t i = phase.range.begin; i < phase.range.end; ++i) {
      const Work work = phase.kind == scheduler::PhaseKind::tasks ? task_work(TaskId(i), phase.kernel)
                                                                  : step_work(StepId(i), phase.kernel);
      out.ctas += work.copies;
      list_.works.push_back(work);
    }
    out.works.end = static_cast<std::int32_t>(list_.works.size());
    std::int32_t run_end = out.works.end;
    for (std::int32_t w = out.works.end - 1; w >= out.works.begin; --w) {
      const auto at = static_cast<std::size_t>(w);
      if (w + 1 < out.works.end && list_.works[at].kind != list_.works[at + 1].kind) run_end = w + 1;
      list_.works[at].run_end = run_end;
    }
  }

  Work task_work(TaskId t, scheduler::KernelId kernel) {
    const scheduler::Task& task = plan_.tasks[t];
    if (task.copies < 1) {
      throw core::bad_input(fmt::format("task {}", t.value), "1 copy or more", fmt::format("{}", task.copies));
    }
    if (task.kind == TaskKind::padding) return {kind_id(CtaKind{}), task.copies, t.value, 0};
    const auto [mates, first] = clusters_.empty() ? Share{} : clusters_[t];
    // Rounded as the part of the shared load that misses, so that a cluster's parts add up to it.
    const TaskKey key{kernel.value, task_shape(plan_, task), round_miss((1.0 - hits_[t]) * mates) / mates, mates,
                      pages_of(task)};
    const auto [at, fresh] = priced_.try_emplace(key);
    if (fresh) at->second = price_task(key, plan_.kernels[kernel]);
    const WorkCounts& counts = at->second.counts;
    list_.counts.add_times(counts, task.copies);
    const double kv_bytes = static_cast<double>(counts.kv_bytes) * task.copies;
    kv_hit_bytes_ += kv_bytes * hits_[t];
    list_.hbm_bytes += std::llround(kv_bytes * (1.0 - hits_[t]));
    if (!first) multicast_bytes_ += counts.kv_bytes * task.copies;
    return {at->second.kind, task.copies, t.value, 0};
  }

  /// Pages that its segments touch.
  std::int64_t pages_of(const scheduler::Task& task) const {
    if (!walks_pages_) return 0;
    const traces::PageTable& table = plan_.forest.pages;
    std::int64_t pages = 0;
    for (std::int32_t i = task.segments.begin; i < task.segments.end; ++i) {
      const scheduler::Segment& s = plan_.segments[static_cast<std::size_t>(i)];
      pages += last_page(table, s.node, segment_end(plan_, s)) - last_page(table, s.node, s.token_begin + 1) + 1;
    }
    return pages;
  }

  Priced price_task(const TaskKey& key, const KernelConfig& kernel) {
    Priced priced{0, costmodel::count_task(key.shape, kernel, plan_.heads)};
    const WorkCounts& counts = priced.counts;
    CtaKind kind;
    kind.end_us = device_.cta_end_ns * 1e-3;
    if (key.shape.role == KernelRole::softmax) {
      const std::int64_t in_flight = kernel.warps * std::int64_t{32} * kSoftmaxBytesPerThread;
      set_main(kind, static_cast<double>(counts.score_read_bytes),
               {score_miss_, pipe_cycles(counts, kernel), static_cast<double>(in_flight)});
      set_io(kind, counts.score_write_bytes, score_miss_);
    } else {
      if (counts.kv_bytes > 0) set_kv_flow(kind, key, kernel, counts);
      const double hbm = query_miss_ * static_cast<double>(counts.query_bytes) +
                         partial_miss_ * static_cast<double>(counts.partial_read_bytes) +
                         written_miss_ * static_cast<double>(counts.partial_write_bytes) +
                         score_miss_ * static_cast<double>(counts.score_read_bytes + counts.score_write_bytes) +
                         static_cast<double>(counts.output_bytes);
      const std::int64_t bytes = counts.read_bytes() - counts.kv_bytes + counts.write_bytes();
      set_io(kind, bytes, hbm / static_cast<double>(std::max<std::int64_t>(bytes, 1)));
      kind.end_us += costmodel::rows_us(key.shape, plan_.heads, device_);
    }
    priced.kind = kind_id(kind);
    return priced;
  }

  void set_kv_flow(CtaKind& kind, const TaskKey& key, const KernelConfig& kernel, const WorkCounts& counts) {
    const double tile_bytes =
        static_cast<double>(counts.kv_bytes) / static_cast<double>(key.shape.kv_tokens) * kernel.kv_tile;
    const double cycles = costmodel::tile_cycles(key.shape, kernel, plan_.heads, device_).total;
    FlowClass flow;
    flow.hbm_fraction = key.miss;
    flow.l2_fraction = 1.0 / key.mates;
    const double latency = path_latency_us(flow, device_);
    flow.sm_cycles_per_byte = cycles / tile_bytes;
    // A ring of S stages has S-1 tiles requested while one is consumed.
    flow.in_flight_bytes = std::max(kernel.stages - 1, 1) * tile_bytes;
    const double covered = std::min(1.0, static_cast<double>(counts.kv_bytes) / flow.in_flight_bytes);
    // Nothing of this CTA is in flight while it looks up what to read.
    kind.exposed_us = latency * (1.0 - covered + kernel.lookups);
    // Load, wait, compute: a tile is requested only for the share of the time that isn't spent computing.
    const double compute_us = kernel.stages == 1 ? cycles / device_.clocks_per_us() : 0;
    double between_us = compute_us;
    if (walks_pages_) {
      // Whole pages stretch every turn, so that tasks of any length share a class; what is over comes once.
      // A cluster's CTAs ask for a part of them each.
      const double place_us = device_.page_ns * 1e-3 * (splits_kv(key.shape.role) ? 2 : 1) / key.mates,
                   page_tokens = plan_.forest.pages.page_size;
      const double in_flight_tokens = flow.in_flight_bytes / tile_bytes * kernel.kv_tile;
      between_us += in_flight_tokens / page_tokens * place_us;
      kind.exposed_us +=
          (static_cast<double>(key.pages) - static_cast<double>(key.shape.kv_tokens) / page_tokens) * place_us;
    }
    const double opening = mean_in_flight(flow.in_flight_bytes, latency, compute_us);
    flow.in_flight_bytes = mean_in_flight(flow.in_flight_bytes, latency, between_us);
    set_main_class(kind, flow, static_cast<double>(counts.kv_bytes), opening);
    const double padded = static_cast<double>(counts.kv_tiles * kernel.kv_tile - key.shape.kv_tokens) / kernel.kv_tile;
    // A core computes on no tokens that aren't there.
    if (!on_cpu_) kind.end_us += cycles * padded / device_.clocks_per_us();
  }

  /// Keys and values of a page lie in two places.
  bool splits_kv(KernelRole role) const { return role == KernelRole::attend && !plan_.heads.v_in_k; }

  Work step_work(StepId s, scheduler::KernelId kernel_id) {
    const KernelConfig& kernel = plan_.kernels[kernel_id];
    const costmodel::ReductionShape shape = step_shape(plan_, plan_.steps[s]);
    const WorkCounts counts = costmodel::count_reduction(shape, kernel, plan_.heads);
    list_.counts += counts;
    const std::int64_t rows = shape.rows * shape.heads;
    // One core does a step, a row after the other.
    const std::int64_t ctas = on_cpu_ ? 1 : std::max<std::int64_t>(1, core::ceil_div(rows, kernel.query_tile));
    const std::int64_t row_bytes = counts.partial_read_bytes / std::max<std::int64_t>(1, rows * shape.inputs);
    const std::int64_t at_once = on_cpu_ ? 1 : core::ceil_div(rows, ctas);
    const std::int64_t in_flight = at_once * std::max<std::int64_t>(kMergeInputsInFlight, kernel.stages) * row_bytes;
    CtaKind kind;
    kind.end_us = device_.cta_end_ns * 1e-3;
    const auto parts = static_cast<double>(ctas);
    set_main(kind, static_cast<double>(counts.partial_read_bytes) / parts,
             {partial_miss_, pipe_cycles(counts, kernel) / parts,
              static_cast<double>(std::max<std::int64_t>(in_flight, 1))});
    const double hbm =
        written_miss_ * static_cast<double>(counts.partial_write_bytes) + static_cast<double>(counts.output_bytes);
    set_io(kind, counts.write_bytes(), hbm / static_cast<double>(std::max<std::int64_t>(counts.write_bytes(), 1)));
    kind.io_bytes /= parts;
    const double covered = std::min(1.0, kind.main_bytes / static_cast<double>(std::max<std::int64_t>(in_flight, 1)));
    kind.exposed_us = path_latency_us(partial_miss_, device_) * (1.0 - covered + kernel.lookups);
    return {kind_id(kind), static_cast<std::int32_t>(ctas), s.value, 0};
  }

  /// Exponentials and fp32 work of a whole count on one SM; the two pipes run side by side.
  double pipe_cycles(const WorkCounts& counts, const KernelConfig& kernel) const {
    return std::max(static_cast<double>(counts.exps) / device_.ex2_per_clk,
                    static_cast<double>(counts.fma_flops) / device_.fma_flop_per_clk) /
           kernel.efficiency;
  }

  struct Stream {
    double miss, cycles, in_flight;
  };
  void set_main(CtaKind& kind, double bytes, const Stream& stream) {
    if (bytes <= 0) return;
    FlowClass flow;
    flow.hbm_fraction = stream.miss;
    flow.sm_cycles_per_byte = round_cycles(stream.cycles / bytes);
    flow.in_flight_bytes = stream.in_flight;
    set_main_class(kind, flow, bytes, flow.in_flight_bytes);
  }

  /// Queries, folds and results pass at the rate of the SM's port when L2 and HBM allow: their latency is hidden or
  /// posted. A core has no more of them under way than of what it reads from the shared cache.
  void set_io(CtaKind& kind, std::int64_t bytes, double miss) {
    if (bytes <= 0) return;
    FlowClass flow;
    flow.hbm_fraction = round_miss(miss);
    flow.in_flight_bytes = sm_port_bytes_per_us(device_) * path_latency_us(on_cpu_ ? 0 : flow.hbm_fraction, device_);
    kind.io_class = class_id(flow);
    kind.io_bytes = static_cast<double>(bytes);
  }

  /// `ring_bytes`: what a CTA asks for at first, if it reads as many.
  void set_main_class(CtaKind& kind, const FlowClass& flow, double bytes, double ring_bytes) {
    kind.main_class = class_id(flow);
    kind.main_bytes = bytes;
    const double opening = std::min(ring_bytes, bytes);
    kind.burst_us = std::max(opening * flow.hbm_fraction / device_.hbm_achievable_bytes_per_us(),
                             opening * flow.l2_fraction / device_.l2_bytes_per_us());
  }

  std::int32_t class_id(FlowClass flow) {
    const auto key = std::tuple(flow.hbm_fraction, flow.l2_fraction, flow.sm_cycles_per_byte, flow.in_flight_bytes);
    const auto [at, fresh] = class_ids_.try_emplace(key, static_cast<std::int32_t>(list_.classes.size()));
    if (!fresh) return at->second;
    limit_flow(flow, device_);
    list_.classes.push_back(flow);
    return at->second;
  }

  std::int32_t kind_id(const CtaKind& kind) {
    const auto [at, fresh] = kind_ids_.try_emplace(kind, static_cast<std::int32_t>(list_.kinds.size()));
    if (fresh) list_.kinds.push_back(kind);
    return at->second;
  }

  void total_traffic() {
    const WorkCounts& counts = list_.counts;
    list_.hbm_bytes += std::llround(static_cast<double>(counts.query_bytes) * query_miss_) + counts.output_bytes;
    if (partial_miss_ > 0) list_.hbm_bytes += counts.partial_read_bytes;
    if (written_miss_ > 0) list_.hbm_bytes += counts.partial_write_bytes;
    if (score_miss_ > 0) list_.hbm_bytes += counts.score_read_bytes + counts.score_write_bytes;
    list_.l2_bytes = core::checked_add(counts.read_bytes(), counts.write_bytes()) - multicast_bytes_;
    list_.l2_hit_fraction = counts.kv_bytes > 0 ? kv_hit_bytes_ / static_cast<double>(counts.kv_bytes) : 0;
  }

  const Plan& plan_;
  const costmodel::DeviceSpec& device_;
  core::Column<TaskId, double> hits_;
  std::vector<std::int32_t> per_sm_;  ///< resident CTAs an SM, by kernel
  bool on_cpu_ = false;               ///< cores of the host run the plan
  bool walks_pages_ = false;          ///< and every page costs something
  double partial_miss_ = 0, written_miss_ = 0, score_miss_ = 0, query_miss_ = 1;
  double kv_hit_bytes_ = 0;
  /// CTAs that share a task's loads, and whether the loads are counted as this one's.
  struct Share {
    std::int32_t mates = 1;
    bool first = true;
  };
  core::Column<TaskId, Share> clusters_;  ///< empty: no clusters
  std::int64_t multicast_bytes_ = 0;      ///< that arrived without L2 sending them again
  std::unordered_map<TaskKey, Priced, TaskKeyHash> priced_;
  std::map<std::tuple<double, double, double, double>, std::int32_t> class_ids_;
  std::unordered_map<CtaKind, std::int32_t, KindHash> kind_ids_;
  WorkList list_;
};

}  // namespace

WorkList make_work_list(const Plan& plan, const costmodel::DeviceSpec& device, KvReuse reuse) {
  return ListMaker(plan, device, reuse).make();
}

}  // namespace espalier::sim
