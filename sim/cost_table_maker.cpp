// Plans of equal CTAs that fill the device, one a grid point, and their simulated times.
#include "sim/cost_table_maker.h"

#include <algorithm>

#include "core/error.h"
#include "scheduler/plan_builder.h"
#include "sim/simulator.h"

namespace espalier::sim {
namespace {

using costmodel::CostGrid;
using costmodel::DeviceSpec;
using costmodel::KernelConfig;
using costmodel::KernelRole;
using scheduler::PlanBuilder;
using traces::HeadConfig;
using traces::RequestId;

/// Dense where latency and whole tiles bend the curve, an octave apart where it is a line.
constexpr std::int64_t kTokens[] = {1,    16,   32,   64,   96,   128,  192,   256,   384,   512,   768,
                                    1024, 1536, 2048, 3072, 4096, 8192, 16384, 32768, 65536, 131072};
constexpr std::int64_t kInputs[] = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256};

std::int32_t ctas_at_once(const KernelConfig& kernel, const HeadConfig& heads, const DeviceSpec& device) {
  const std::int32_t residents = costmodel::ctas_per_sm(kernel, heads, device);
  ESPALIER_CHECK_OP(residents, >, 0);
  return residents * static_cast<std::int32_t>(device.sms);
}

/// `roots` nodes of `tokens`, each read by `readers` requests that end there.
traces::PrefixForest equal_roots(std::int32_t roots, std::int32_t readers, std::int64_t tokens) {
  traces::ForestSource source;
  source.name = "equal roots";
  for (std::int32_t i = 0; i < roots; ++i) {
    source.parent.push_back(-1);
    source.tokens.push_back(tokens);
    source.leaf.insert(source.leaf.end(), static_cast<std::size_t>(readers), i);
  }
  return traces::make_forest(source);
}

/// The same heads, but only those that one CTA serves: a task is then one CTA.
HeadConfig heads_of_one_cta(const HeadConfig& heads, std::int32_t query_heads) {
  HeadConfig one = heads;
  one.q_heads = query_heads;
  one.kv_heads = 1;
  return one;
}

scheduler::Slot partial_slot(scheduler::Interval queries, const HeadConfig& heads, const KernelConfig& kernel) {
  scheduler::Slot slot;
  slot.queries = queries;
  slot.head_count = heads.q_heads;
  slot.dtype = kernel.partial_dtype;
  slot.columns = heads.v_dim;
  return slot;
}

double last_phase_us(PlanBuilder&& builder, const DeviceSpec& device) {
  const PhaseTime time = simulate(std::move(builder).finish({}), device).phases.back();
  return time.end_us - time.begin_us;
}

double task_us(const KernelConfig& kernel, const HeadConfig& heads, const DeviceSpec& device,
               const traces::PrefixForest& forest) {
  PlanBuilder builder(forest, heads);
  const scheduler::KernelId k = builder.kernel(kernel);
  builder.launch();
  const scheduler::TaskId first = builder.next_task();
  for (const traces::NodeId n : core::ids<traces::NodeId>(forest.node_count())) {
    scheduler::Task task;
    const scheduler::Segment segment = builder.segment(n, 0, forest.tokens[n], forest.readers(n));
    task.segments = builder.segments(std::span(&segment, 1));
    task.queries = builder.queries(forest.request_begin[n], forest.request_end[n]);
    task.head_count = heads.q_heads;
    task.slot = builder.slot(partial_slot(task.queries, heads, kernel));
    builder.task(task);
  }
  builder.task_phase(k, first);
  return last_phase_us(std::move(builder), device);
}

CostGrid task_grid(const KernelConfig& kernel, const HeadConfig& heads, const DeviceSpec& device) {
  const HeadConfig one = heads_of_one_cta(heads, scheduler::heads_per_copy(kernel, heads));
  const std::int32_t most = scheduler::queries_per_tile(kernel, heads);
  CostGrid grid{kernel.name, {}, {std::begin(kTokens), std::end(kTokens)}, {}};
  for (std::int32_t queries = 1;; queries = std::min(2 * queries, most)) {
    grid.rows.push_back(std::int64_t{queries} * one.q_heads);
    for (const std::int64_t tokens : kTokens) {
      grid.us.push_back(
          task_us(kernel, one, device, equal_roots(ctas_at_once(kernel, heads, device), queries, tokens)));
    }
    if (queries == most) return grid;
  }
}

/// Every CTA merges the same rows: they lie in L2, as rows that were just written do.
double merge_us(const KernelConfig& kernel, const HeadConfig& heads, const DeviceSpec& device, std::int64_t inputs) {
  PlanBuilder builder(equal_roots(1, 1, 1), heads);
  const traces::NodeId root(0);
  const scheduler::Interval query = builder.queries(RequestId(0), RequestId(1));
  const scheduler::Segment segment = builder.segment(root, 0, 1, 1);
  const KernelConfig& writer = costmodel::our_attend_kernel(1, heads, device);
  const scheduler::KernelId write = builder.kernel(writer), merge = builder.kernel(kernel);
  builder.launch();
  const scheduler::TaskId first = builder.next_task();
  std::vector<scheduler::RowRef> rows;
  for (std::int64_t i = 0; i < inputs; ++i) {
    scheduler::Task task;
    task.segments = builder.segments(std::span(&segment, 1));
    task.queries = query;
    task.head_count = heads.q_heads;
    task.slot = builder.slot(partial_slot(query, heads, kernel));
    rows.push_back({task.slot, 0});
    builder.task(task);
  }
  builder.task_phase(write, first);
  builder.launch();
  const scheduler::StepId step = builder.next_step();
  for (std::int32_t i = 0; i < ctas_at_once(kernel, heads, device); ++i) {
    scheduler::ReductionStep merged;
    merged.head_count = heads.q_heads;
    builder.step(merged, rows);
  }
  builder.step_phase(merge, step);
  return last_phase_us(std::move(builder), device);
}

CostGrid merge_grid(const KernelConfig& kernel, const HeadConfig& heads, const DeviceSpec& device) {
  CostGrid grid{kernel.name, {}, {std::begin(kInputs), std::end(kInputs)}, {}};
  for (std::int32_t rows = 1;; rows = std::min(2 * rows, kernel.query_tile)) {
    grid.rows.push_back(rows);
    const HeadConfig one = heads_of_one_cta(heads, rows);
    for (const std::int64_t inputs : kInputs) grid.us.push_back(merge_us(kernel, one, device, inputs));
    if (rows == kernel.query_tile) return grid;
  }
}

}  // namespace

std::vector<const KernelConfig*> profiled_kernels(const DeviceSpec& device, const HeadConfig& heads, bool ours_only) {
  std::vector<const KernelConfig*> kernels;
  for (const KernelConfig& kernel : costmodel::kernel_catalog()) {
    if (kernel.role != KernelRole::attend && kernel.role != KernelRole::reduce) continue;
    if (ours_only && !kernel.name.starts_with("espalier_")) continue;
    if (costmodel::unfit_reason(kernel, heads, device).empty()) kernels.push_back(&kernel);
  }
  return kernels;
}

costmodel::CostTable make_cost_table(const DeviceSpec& device, const HeadConfig& heads,
                                     std::span<const KernelConfig* const> kernels) {
  costmodel::CostTable table;
  table.device = device.name;
  table.device_hash = costmodel::device_hash(device);
  table.heads = heads;
  table.heads.scale = 0;
  table.source = "simulated";
  for (const KernelConfig* kernel : kernels) {
    if (kernel->role == KernelRole::reduce) {
      table.reductions.push_back(merge_grid(*kernel, heads, device));
    } else {
      table.tasks.push_back(task_grid(*kernel, heads, device));
    }
  }
  return table;
}

}  // namespace espalier::sim
