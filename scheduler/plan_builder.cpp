// Appending plans: tasks, launches and phases, workspace layout. The merge of partial rows is in row_merger.cpp.
#include "scheduler/plan_builder.h"

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "core/units.h"
#include "scheduler/row_merger.h"

namespace espalier::scheduler {
namespace {

/// Slots begin on the alignment the GPU's bulk copies and the allocator give.
constexpr std::int64_t kSlotSpacing = 256;
static_assert(kSlotSpacing % kSlotAlignment == 0);
constexpr std::int64_t kLseBytes = 4;

std::int32_t length32(std::size_t n) {
  ESPALIER_CHECK(n <= static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()));
  return static_cast<std::int32_t>(n);
}

template <class T>
Interval append(std::vector<T>& column, std::span<const T> rows) {
  const std::int32_t begin = length32(column.size());
  column.insert(column.end(), rows.begin(), rows.end());
  return {begin, length32(column.size())};
}

}  // namespace

std::int64_t slot_bytes(const Slot& slot) {
  const std::int64_t row = core::checked_add(core::checked_mul(slot.columns, traces::dtype_bytes(slot.dtype)),
                                             slot.kind == SlotKind::partial ? kLseBytes : 0);
  return core::checked_mul(core::checked_mul(slot.queries.size(), slot.head_count), row);
}

std::int32_t heads_per_copy(const costmodel::KernelConfig& kernel, const traces::HeadConfig& heads) {
  if (!kernel.packs_heads) return 1;
  std::int32_t most = std::clamp(kernel.query_tile, 1, heads.group());
  while (heads.group() % most != 0) --most;
  return most;
}

std::int32_t queries_per_tile(const costmodel::KernelConfig& kernel, const traces::HeadConfig& heads) {
  return std::max(1, kernel.query_tile / heads_per_copy(kernel, heads));
}

PlanBuilder::PlanBuilder(const traces::PrefixForest& forest, const traces::HeadConfig& heads) {
  plan_.forest = forest;
  plan_.heads = heads;
  plan_.query_rows.resize(forest.request_count());
  for (const RequestId r : core::ids<RequestId>(forest.request_count())) plan_.query_rows[r.index()] = r;
}

KernelId PlanBuilder::kernel(const costmodel::KernelConfig& config) {
  for (const KernelId k : core::ids<KernelId>(plan_.kernels.size())) {
    if (plan_.kernels[k].name != config.name) continue;
    ESPALIER_CHECK(plan_.kernels[k] == config);
    return k;
  }
  return plan_.kernels.push_back(config);
}

void PlanBuilder::reserve_tasks(std::size_t tasks, std::size_t segments) {
  plan_.tasks.reserve(plan_.tasks.size() + tasks);
  plan_.segments.reserve(plan_.segments.size() + segments);
}

void PlanBuilder::reserve_merges(std::size_t slots, std::size_t steps, std::size_t inputs) {
  plan_.slots.reserve(plan_.slots.size() + slots);
  stored_in_.reserve(stored_in_.size() + slots);
  plan_.steps.reserve(plan_.steps.size() + steps);
  plan_.reduction_inputs.reserve(plan_.reduction_inputs.size() + inputs);
}

Interval PlanBuilder::queries(RequestId begin, RequestId end) {
  ESPALIER_CHECK(begin.value >= 0 && begin <= end &&
                 static_cast<std::size_t>(end.value) <= plan_.forest.request_count());
  return {begin.value, end.value};
}

Interval PlanBuilder::queries(std::span<const RequestId> list) {
  if (list.empty()) return {};
  const auto run = static_cast<std::int32_t>(list.size());
  bool consecutive = list.back().value - list.front().value == run - 1;
  for (std::size_t i = 1; consecutive && i < list.size(); ++i) consecutive = list[i].value == list[i - 1].value + 1;
  if (consecutive) return queries(list.front(), RequestId(list.back().value + 1));
  return append(plan_.query_rows, list);
}

TaskId PlanBuilder::attend(KernelId kernel, std::span<const Segment> segments, Interval group) {
  Task task;
  task.kind = TaskKind::attend;
  task.segments = append(plan_.segments, segments);
  task.queries = group;
  task.head_count = heads_per_copy(plan_.kernels[kernel], plan_.heads);
  task.copies = plan_.heads.q_heads / task.head_count;
  return plan_.tasks.push_back(task);
}

TaskId PlanBuilder::task(const Task& task) { return plan_.tasks.push_back(task); }

TaskId PlanBuilder::padding(std::int32_t count) {
  ESPALIER_CHECK_OP(count, >=, 0);
  if (count == 0) return next_task();
  Task task;
  task.kind = TaskKind::padding;
  task.copies = count;
  return plan_.tasks.push_back(task);
}

Interval PlanBuilder::segments(std::span<const Segment> list) { return append(plan_.segments, list); }

Segment PlanBuilder::segment(NodeId node, std::int64_t begin, std::int64_t end, std::int32_t rows) const {
  const std::int64_t tokens = plan_.forest.tokens[node];
  ESPALIER_CHECK(begin >= 0 && begin < end && end <= tokens);
  return {node, static_cast<std::int32_t>(begin), end == tokens ? kToNodeEnd : static_cast<std::int32_t>(end), 0, rows};
}

SlotId PlanBuilder::slot(const Slot& slot) {
  stored_in_.push_back(SlotId());
  return plan_.slots.push_back(slot);
}

SlotId PlanBuilder::storage_of(SlotId slot) const {
  while (stored_in_[slot].valid()) slot = stored_in_[slot];
  return slot;
}

void PlanBuilder::reuse_storage(SlotId later, SlotId earlier) {
  ESPALIER_CHECK_OP(slot_bytes(plan_.slots[later]), ==, slot_bytes(plan_.slots[earlier]));
  ESPALIER_CHECK(!stored_in_[later].valid() && storage_of(earlier) != later);
  stored_in_[later] = storage_of(earlier);
}

Interval PlanBuilder::folds(std::span<const SlotId> slots) { return append(plan_.fold_slots, slots); }

StepId PlanBuilder::step(const ReductionStep& step, std::span<const RowRef> inputs) {
  ReductionStep placed = step;
  placed.inputs = append(plan_.reduction_inputs, inputs);
  return plan_.steps.push_back(placed);
}

LaunchId PlanBuilder::launch(Follow follow, std::int32_t stream, std::span<const LaunchId> after) {
  std::vector<LaunchId> needed(after.begin(), after.end());
  for (std::size_t i = plan_.launches.size(); i > 0; --i) {
    if (plan_.launches[LaunchId(i - 1)].stream != stream) continue;
    needed.push_back(LaunchId(i - 1));
    break;
  }
  // Repeats and the order are finish()'s business.
  for (const LaunchId l : needed) ESPALIER_CHECK(l.valid() && l.index() < plan_.launches.size());
  Launch launch;
  launch.phases = {length32(plan_.phases.size()), length32(plan_.phases.size())};
  launch.dependencies = append(plan_.dependencies, std::span<const LaunchId>(needed));
  launch.stream = stream;
  launch.follow = follow;
  return plan_.launches.push_back(launch);
}

void PlanBuilder::add_phase(const Phase& phase) {
  ESPALIER_CHECK(!plan_.launches.empty());
  if (phase.range.size() == 0) return;
  ESPALIER_CHECK(phase.range.size() > 0 && phase.kernel.valid() && phase.kernel.index() < plan_.kernels.size());
  plan_.phases.push_back(phase);
  plan_.launches.raw().back().phases.end = length32(plan_.phases.size());
}

void PlanBuilder::task_phase(KernelId kernel, TaskId begin, PhaseStart start) {
  add_phase({PhaseKind::tasks, {begin.value, next_task().value}, kernel, start});
}

void PlanBuilder::step_phase(KernelId kernel, StepId begin, PhaseStart start) {
  add_phase({PhaseKind::steps, {begin.value, next_step().value}, kernel, start});
}

void PlanBuilder::queues(std::span<const std::vector<QueueItem>> workers) {
  ESPALIER_CHECK(!plan_.launches.empty() && plan_.launches.raw().back().workers == 0);
  if (std::all_of(workers.begin(), workers.end(), [](const auto& items) { return items.empty(); })) return;
  Launch& launch = plan_.launches.raw().back();
  launch.workers = length32(workers.size());
  launch.queue_begin = length32(plan_.queues.size());
  for (const std::vector<QueueItem>& items : workers) {
    plan_.queues.push_back(append(plan_.queue_items, std::span<const QueueItem>(items)));
  }
}

void PlanBuilder::queues(std::span<const QueueItem> items, std::span<const std::size_t> ends) {
  ESPALIER_CHECK(!plan_.launches.empty() && plan_.launches.raw().back().workers == 0);
  if (items.empty()) return;
  ESPALIER_CHECK(!ends.empty() && ends.back() == items.size());
  Launch& launch = plan_.launches.raw().back();
  launch.workers = length32(ends.size());
  launch.queue_begin = length32(plan_.queues.size());
  std::int32_t at = append(plan_.queue_items, items).begin;
  const std::int32_t first = at;
  plan_.queues.reserve(plan_.queues.size() + ends.size());
  for (const std::size_t end : ends) {
    const std::int32_t next = first + static_cast<std::int32_t>(end);
    plan_.queues.push_back({at, next});
    at = next;
  }
}

StepId PlanBuilder::finish_rows(traces::Dtype dtype) {
  const StepId first = next_step();
  merge_rows(*this, unfinished_, dtype);
  unfinished_ = next_task();
  return first;
}

void PlanBuilder::lay_out_workspace() {
  std::int64_t used = 0;
  // A slot without storage of its own may come before the one it lives in, hence two passes.
  for (const SlotId s : core::ids<SlotId>(plan_.slots.size())) {
    if (stored_in_[s].valid()) continue;
    plan_.slots[s].offset = used;
    used = core::round_up(core::checked_add(used, slot_bytes(plan_.slots[s])), kSlotSpacing);
  }
  for (const SlotId s : core::ids<SlotId>(plan_.slots.size())) {
    plan_.slots[s].offset = plan_.slots[storage_of(s)].offset;
  }
  plan_.workspace_bytes = used;
}

/// Also sorts dependencies and drops repeated ones.
void PlanBuilder::drop_empty_launches() {
  const auto empty = [&](LaunchId l) { return plan_.launches[l].phases.size() == 0; };
  const auto all = core::ids<LaunchId>(plan_.launches.size());
  const auto has_phases = [](const Launch& launch) { return launch.phases.size() > 0; };
  if (plan_.dependencies.empty() && std::all_of(plan_.launches.begin(), plan_.launches.end(), has_phases)) return;
  core::Column<LaunchId, LaunchId> renumbered(plan_.launches.size());
  core::Column<LaunchId, std::vector<LaunchId>> needs(plan_.launches.size());  // in old numbers, kept launches only
  core::Column<LaunchId, Launch> kept;
  std::vector<LaunchId> dependencies;
  for (const LaunchId l : all) {
    Launch launch = plan_.launches[l];
    for (std::int32_t i = launch.dependencies.begin; i < launch.dependencies.end; ++i) {
      const LaunchId on = plan_.dependencies[static_cast<std::size_t>(i)];
      // What waited for an empty launch waits for what that one waited for.
      if (empty(on)) {
        needs[l].insert(needs[l].end(), needs[on].begin(), needs[on].end());
      } else {
        needs[l].push_back(on);
      }
    }
    std::sort(needs[l].begin(), needs[l].end());
    needs[l].erase(std::unique(needs[l].begin(), needs[l].end()), needs[l].end());
    if (empty(l)) continue;
    std::vector<LaunchId> on;
    for (const LaunchId need : needs[l]) on.push_back(renumbered[need]);
    launch.dependencies = append(dependencies, std::span<const LaunchId>(on));
    renumbered[l] = kept.push_back(launch);
  }
  plan_.launches = std::move(kept);
  plan_.dependencies = std::move(dependencies);
}

Plan PlanBuilder::finish(Provenance provenance) && {
  drop_empty_launches();
  lay_out_workspace();
  plan_.provenance = std::move(provenance);
  seal(plan_);
  return std::move(plan_);
}

}  // namespace espalier::scheduler
