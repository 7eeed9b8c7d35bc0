// Plans written by hand, one for each thing that a plan can say: the interpreter's test inputs.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "scheduler/plan_builder.h"
#include "tests/scheduler/node_plans.h"

namespace espalier::kernels::testing {

using scheduler::Interval;
using scheduler::KernelId;
using scheduler::PhaseStart;
using scheduler::Plan;
using scheduler::PlanBuilder;
using scheduler::ReductionStep;
using scheduler::RowRef;
using scheduler::Segment;
using scheduler::Slot;
using scheduler::SlotId;
using scheduler::SlotKind;
using scheduler::StepId;
using scheduler::Task;
using scheduler::TaskId;
using scheduler::TaskKind;
using scheduler::node_plans::reduce_kernel;
using traces::HeadConfig;
using traces::NodeId;
using traces::PrefixForest;
using traces::RequestId;

/// Root of 9 tokens; requests 0 and 1 in children of 4 and 6; request 2 ends at the root's third child (5 tokens),
/// whose own child (3 tokens) holds request 3.
inline PrefixForest small_forest() {
  traces::ForestSource source;
  source.name = "small";
  source.parent = {-1, 0, 0, 0, 3};
  source.tokens = {9, 4, 6, 5, 3};
  source.leaf = {1, 2, 3, 4};
  return traces::make_forest(source);
}

inline costmodel::KernelConfig attend_kernel(bool packs_heads = true, std::int32_t tile = 16) {
  costmodel::KernelConfig kernel;
  kernel.name = "attend";
  kernel.query_tile = tile;
  kernel.packs_heads = packs_heads;
  return kernel;
}

/// Every node's readers attend to it in two tasks (one where it has a single token); rows merged in a second launch.
inline Plan node_halves(const PrefixForest& forest, const HeadConfig& heads,
                        const costmodel::KernelConfig& kernel = attend_kernel()) {
  PlanBuilder b(forest, heads);
  const KernelId attend = b.kernel(kernel), reduce = b.kernel(reduce_kernel());
  b.launch();
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    const Interval group = b.queries(forest.request_begin[n], forest.request_end[n]);
    const std::int64_t cut = forest.tokens[n] / 2;
    if (cut > 0) b.attend(attend, std::vector{b.segment(n, 0, cut, group.size())}, group);
    b.attend(attend, std::vector{b.segment(n, cut, forest.tokens[n], group.size())}, group);
  }
  b.task_phase(attend, TaskId(0));
  const StepId first = b.finish_rows(traces::Dtype::fp32);
  b.launch();
  b.step_phase(reduce, first);
  return std::move(b).finish({});
}

/// A slot for all heads and the given group.
inline Slot slot_for(const HeadConfig& heads, Interval group, SlotKind kind = SlotKind::partial,
                     std::int64_t columns = 0) {
  Slot slot;
  slot.kind = kind;
  slot.queries = group;
  slot.head_count = heads.q_heads;
  slot.columns = kind == SlotKind::partial ? heads.v_dim : columns;
  return slot;
}

/// A task over all heads, one KV head's query heads a copy.
inline Task task_for(const HeadConfig& heads, TaskKind kind, Interval segments, Interval group) {
  Task task;
  task.kind = kind;
  task.segments = segments;
  task.queries = group;
  task.head_count = heads.group();
  task.copies = heads.kv_heads;
  return task;
}

/// Small forest: one task reads the root and all tails as segments with row intervals (DeFT's mixed blocks): no merge
/// at all.
inline Plan one_mixed_task(const PrefixForest& forest, const HeadConfig& heads) {
  PlanBuilder b(forest, heads);
  const KernelId attend = b.kernel(attend_kernel());
  b.launch();
  std::vector<Segment> segments;
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    segments.push_back({n, 0, scheduler::kToNodeEnd, forest.request_begin[n].value, forest.request_end[n].value});
  }
  b.attend(attend, segments, b.queries(RequestId(0), RequestId(forest.request_count())));
  b.task_phase(attend, TaskId(0));
  b.finish_rows(traces::Dtype::fp32);
  return std::move(b).finish({});
}

/// Small forest: the root for all requests into a slot; then each request folds its row in while it reads the rest
/// (ChunkAttention).
inline Plan folded(const PrefixForest& forest, const HeadConfig& heads) {
  PlanBuilder b(forest, heads);
  const KernelId attend = b.kernel(attend_kernel());
  const Interval all = b.queries(RequestId(0), RequestId(forest.request_count()));
  const SlotId root = b.slot(slot_for(heads, all));
  b.launch();
  Task shared = task_for(heads, TaskKind::attend,
                         b.segments(std::vector{b.segment(NodeId(0), 0, forest.tokens[NodeId(0)], all.size())}), all);
  shared.slot = root;
  b.task(shared);
  b.task_phase(attend, TaskId(0));
  b.launch();
  for (const RequestId r : core::ids<RequestId>(forest.request_count())) {
    std::vector<Segment> tail;
    for (const NodeId n : traces::path_of(forest, forest.leaf[r])) {
      if (n.value > 0) tail.push_back(b.segment(n, 0, forest.tokens[n], 1));
    }
    Task task = task_for(heads, TaskKind::attend, b.segments(tail), b.queries(r, RequestId(r.value + 1)));
    task.folds = b.folds(std::vector{root});
    b.task(task);
  }
  b.task_phase(attend, TaskId(1));
  return std::move(b).finish({});
}

/// Small forest: request 3's path cut into its nodes' tokens one by one, merged pairwise by steps on arrival, last step
/// first.
inline Plan tree_merge(const PrefixForest& forest, const HeadConfig& heads, PhaseStart start = PhaseStart::on_arrival) {
  PlanBuilder b(forest, heads);
  const KernelId attend = b.kernel(attend_kernel()), reduce = b.kernel(reduce_kernel());
  b.launch();
  std::vector<std::vector<SlotId>> pieces(forest.request_count());
  for (const RequestId r : core::ids<RequestId>(forest.request_count())) {
    const Interval group = b.queries(r, RequestId(r.value + 1));
    for (const NodeId n : traces::path_of(forest, forest.leaf[r])) {
      for (std::int64_t t = 0; t < forest.tokens[n]; ++t) {
        Task task = task_for(heads, TaskKind::attend, b.segments(std::vector{b.segment(n, t, t + 1, 1)}), group);
        task.slot = b.slot(slot_for(heads, group));
        b.task(task);
        pieces[r.index()].push_back(task.slot);
      }
    }
  }
  b.task_phase(attend, TaskId(0));
  std::vector<std::pair<ReductionStep, std::vector<RowRef>>> steps;
  for (const RequestId r : core::ids<RequestId>(forest.request_count())) {
    std::vector<SlotId> level = pieces[r.index()];
    while (level.size() > 1) {
      std::vector<SlotId> next;
      for (std::size_t i = 0; i < level.size(); i += 2) {
        if (i + 1 == level.size()) {
          next.push_back(level[i]);
          continue;
        }
        ReductionStep step;
        step.head_count = heads.q_heads;
        if (level.size() > 2) {
          next.push_back(step.out = b.slot(slot_for(heads, b.queries(r, RequestId(r.value + 1)))));
        } else {
          step.out_row = r.value;
        }
        steps.push_back({step, {{level[i], 0}, {level[i + 1], 0}}});
      }
      if (level.size() == 2) break;
      level = next;
    }
  }
  std::reverse(steps.begin(), steps.end());
  for (const auto& [step, inputs] : steps) b.step(step, inputs);
  b.step_phase(reduce, StepId(0), start);
  return std::move(b).finish({});
}

/// One root, requests directly below: scores of root and tails, one softmax, values of both, summed (bifurcated
/// attention). The scores of the root stand in two slots, its values are one task.
inline Plan two_gemms(const PrefixForest& forest, const HeadConfig& heads) {
  PlanBuilder b(forest, heads);
  const KernelId kernel = b.kernel(attend_kernel()), reduce = b.kernel(reduce_kernel());
  const Interval all = b.queries(RequestId(0), RequestId(forest.request_count()));
  std::vector<std::pair<std::vector<Segment>, Interval>> reads;
  const std::int64_t root_tokens = forest.tokens[NodeId(0)], cut = root_tokens / 3;
  reads.push_back({{b.segment(NodeId(0), 0, cut, all.size())}, all});
  reads.push_back({{b.segment(NodeId(0), cut, root_tokens, all.size())}, all});
  for (const RequestId r : core::ids<RequestId>(forest.request_count())) {
    std::vector<Segment> tail;
    for (const NodeId n : traces::path_of(forest, forest.leaf[r])) {
      if (n.value > 0) tail.push_back(b.segment(n, 0, forest.tokens[n], 1));
    }
    reads.push_back({tail, b.queries(r, RequestId(r.value + 1))});
  }
  std::vector<SlotId> score_slots;
  b.launch();
  for (const auto& [segments, group] : reads) {
    std::int64_t columns = 0;
    for (const Segment& s : segments) columns += scheduler::segment_tokens(b.plan(), s);
    Task task = task_for(heads, TaskKind::scores, b.segments(segments), group);
    score_slots.push_back(task.slot = b.slot(slot_for(heads, group, SlotKind::scores, columns)));
    b.task(task);
  }
  b.task_phase(kernel, TaskId(0));
  b.launch();
  const TaskId softmax = b.next_task();
  Task normalise = task_for(heads, TaskKind::softmax, {}, all);
  normalise.folds = b.folds(score_slots);
  b.task(normalise);
  b.task_phase(kernel, softmax);
  b.launch();
  const TaskId values = b.next_task();
  Task root =
      task_for(heads, TaskKind::values, b.segments(std::vector{b.segment(NodeId(0), 0, root_tokens, all.size())}), all);
  root.folds = b.folds(std::vector{score_slots[0], score_slots[1]});
  root.slot = b.slot(slot_for(heads, all));
  b.task(root);
  std::vector<std::vector<RowRef>> sums;
  for (std::size_t i = 2; i < reads.size(); ++i) {
    Task task = task_for(heads, TaskKind::values, b.segments(reads[i].first), reads[i].second);
    task.folds = b.folds(std::vector{score_slots[i]});
    task.slot = b.slot(slot_for(heads, reads[i].second));
    b.task(task);
    sums.push_back({{root.slot, static_cast<std::int32_t>(i) - 2}, {task.slot, 0}});
  }
  b.task_phase(kernel, values);
  b.launch();
  for (std::size_t r = 0; r < sums.size(); ++r) {
    ReductionStep step;
    step.op = scheduler::ReductionOp::sum;
    step.out_row = static_cast<std::int32_t>(r);
    step.head_count = heads.q_heads;
    b.step(step, sums[r]);
  }
  b.step_phase(reduce, StepId(0));
  return std::move(b).finish({});
}

}  // namespace espalier::kernels::testing
