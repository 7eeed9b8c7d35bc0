// Pieces of the sample plans, and the sample plans that materialise scores: two GEMMs and one softmax.
#include <algorithm>

#include "tests/scheduler/sample_pieces.h"
#include "tests/scheduler/sample_plans.h"

namespace espalier::scheduler::samples {

KernelConfig kernel_of(KernelRole role) {
  KernelConfig kernel;
  kernel.name = std::string(costmodel::role_name(role));
  kernel.role = role;
  kernel.engine = costmodel::Engine::cuda_core;
  kernel.query_tile = role == KernelRole::attend ? 64 : 4096;  // the products here don't cut their rows
  kernel.kv_tile = 16;
  kernel.stages = 1;
  kernel.smem_bytes = 1024;
  kernel.registers = 64;
  return kernel;
}

Provenance provenance(const char* name) {
  Provenance p;
  p.strategy = name;
  return p;
}

std::vector<std::int64_t> cuts(Rng& rng, std::int64_t begin, std::int64_t end, std::int64_t longest) {
  std::vector<std::int64_t> at{begin};
  while (at.back() < end) at.push_back(std::min(end, at.back() + rng.integer(1, longest)));
  return at;
}

std::vector<std::vector<RequestId>> groups(Rng& rng, std::int32_t begin, std::int32_t end, std::int32_t most) {
  std::vector<std::vector<RequestId>> all;
  const int stride = rng.chance(0.3) ? 2 : 1;
  for (int offset = 0; offset < stride; ++offset) {
    std::vector<RequestId> group;
    std::int64_t size = rng.integer(1, most);
    for (std::int32_t r = begin + offset; r < end; r += stride) {
      group.push_back(RequestId(r));
      if (static_cast<std::int64_t>(group.size()) < size) continue;
      all.push_back(std::move(group));
      group.clear();
      size = rng.integer(1, most);
    }
    if (!group.empty()) all.push_back(std::move(group));
  }
  return all;
}

std::int64_t longest_piece(Rng& rng) { return rng.integer(2, 40); }

Task task_of(PlanBuilder& builder, TaskKind kind, Interval segments, Interval queries) {
  const Plan& plan = builder.plan();
  Task task;
  task.kind = kind;
  task.segments = segments;
  task.queries = queries;
  task.head_count = heads_per_copy(plan.kernels.raw().front(), plan.heads);
  task.copies = plan.heads.q_heads / task.head_count;
  return task;
}

Slot slot_of(const HeadConfig& heads, SlotKind kind, Interval queries, std::int64_t columns) {
  Slot slot;
  slot.kind = kind;
  slot.queries = queries;
  slot.head_count = heads.q_heads;
  slot.columns = columns;
  return slot;
}

ReductionStep step_of(const HeadConfig& heads, std::int32_t rows, SlotId out, std::int32_t out_row) {
  ReductionStep step;
  step.rows = rows;
  step.out = out;
  step.out_row = out_row;
  step.head_count = heads.q_heads;
  return step;
}

namespace {

struct ScoreSlot {
  SlotId slot;
  NodeId node;
  std::int64_t begin, end;
  std::vector<RequestId> group;
};

struct ChainKernels {
  KernelId scores, softmax, values, reduce;
};

/// Scores, softmax and values for the nodes of [from, to), as three launches and one of sums. Values are cut apart from
/// scores.
void add_chain(PlanBuilder& builder, const ChainKernels& kernels, Interval nodes, Rng& rng) {
  const PrefixForest forest = builder.plan().forest;
  const HeadConfig heads = builder.plan().heads;
  const auto each_piece = [&](auto&& visit) {
    for (NodeId n(nodes.begin); n.value < nodes.end; ++n.value) {
      const auto at = cuts(rng, 0, forest.tokens[n], 2 * longest_piece(rng));
      for (std::size_t c = 0; c + 1 < at.size(); ++c) {
        for (auto& group : groups(rng, forest.request_begin[n].value, forest.request_end[n].value, 16)) {
          visit(n, at[c], at[c + 1], group);
        }
      }
    }
  };
  std::vector<ScoreSlot> slots;
  builder.launch();
  TaskId first = builder.next_task();
  each_piece([&](NodeId n, std::int64_t begin, std::int64_t end, const std::vector<RequestId>& group) {
    const Interval queries = builder.queries(group);
    const Segment segment = builder.segment(n, begin, end, queries.size());
    Task task = task_of(builder, TaskKind::scores, builder.segments(std::span(&segment, 1)), queries);
    task.slot = builder.slot(slot_of(heads, SlotKind::scores, queries, end - begin));
    builder.task(task);
    slots.push_back({task.slot, n, begin, end, group});
  });
  builder.task_phase(kernels.scores, first);
  builder.launch();
  first = builder.next_task();
  const std::int32_t r_begin = forest.request_begin[NodeId(nodes.begin)].value;
  const std::int32_t r_end = forest.request_end[NodeId(nodes.begin)].value;
  for (std::int32_t r = r_begin; r < r_end;) {
    const std::int32_t end = std::min(r_end, r + static_cast<std::int32_t>(rng.integer(1, 4)));
    std::vector<SlotId> folds;
    for (const ScoreSlot& s : slots) {
      if (std::any_of(s.group.begin(), s.group.end(), [&](RequestId q) { return q.value >= r && q.value < end; })) {
        folds.push_back(s.slot);
      }
    }
    Task task = task_of(builder, TaskKind::softmax, {}, builder.queries(RequestId(r), RequestId(end)));
    task.head_count = heads.q_heads;
    task.copies = 1;
    task.folds = builder.folds(folds);
    builder.task(task);
    r = end;
  }
  builder.task_phase(kernels.softmax, first);
  builder.launch();
  first = builder.next_task();
  std::vector<std::vector<RowRef>> rows(forest.request_count());
  each_piece([&](NodeId n, std::int64_t begin, std::int64_t end, const std::vector<RequestId>& group) {
    const Interval queries = builder.queries(group);
    const Segment segment = builder.segment(n, begin, end, queries.size());
    std::vector<SlotId> folds;
    for (const ScoreSlot& s : slots) {
      const bool shares = std::any_of(group.begin(), group.end(),
                                      [&](RequestId r) { return std::count(s.group.begin(), s.group.end(), r) > 0; });
      if (s.node == n && s.begin < end && begin < s.end && shares) folds.push_back(s.slot);
    }
    Task task = task_of(builder, TaskKind::values, builder.segments(std::span(&segment, 1)), queries);
    task.slot = builder.slot(slot_of(heads, SlotKind::partial, queries, heads.v_dim));
    task.folds = builder.folds(folds);
    for (std::size_t i = 0; i < group.size(); ++i) {
      rows[group[i].index()].push_back({task.slot, static_cast<std::int32_t>(i)});
    }
    builder.task(task);
  });
  builder.task_phase(kernels.values, first);
  builder.launch();
  const StepId begin = builder.next_step();
  for (std::int32_t r = r_begin; r < r_end; ++r) {
    ReductionStep step = step_of(heads, 1, SlotId(), r);
    step.op = ReductionOp::sum;
    builder.step(step, rows[static_cast<std::size_t>(r)]);
  }
  builder.step_phase(kernels.reduce, begin);
}

/// Nodes of each root.
std::vector<Interval> trees(const PrefixForest& forest) {
  std::vector<Interval> all;
  const auto nodes = static_cast<std::int32_t>(forest.node_count());
  for (std::int32_t n = 0; n < nodes; ++n) {
    if (forest.is_root(NodeId(n))) all.push_back({n, nodes});
    if (all.size() > 1 && forest.is_root(NodeId(n))) all[all.size() - 2].end = n;
  }
  return all;
}

ChainKernels chain_kernels(PlanBuilder& builder) {
  const KernelId scores = builder.kernel(kernel_of(KernelRole::scores)),
                 softmax = builder.kernel(kernel_of(KernelRole::softmax));
  const KernelId values = builder.kernel(kernel_of(KernelRole::values));
  return {scores, softmax, values, builder.kernel(kernel_of(KernelRole::reduce))};
}

}  // namespace

Plan two_gemm_plan(const PrefixForest& forest, const HeadConfig& heads, Rng& rng) {
  PlanBuilder builder(forest, heads);
  const ChainKernels kernels = chain_kernels(builder);
  for (const Interval tree : trees(forest)) add_chain(builder, kernels, tree, rng);
  return std::move(builder).finish(provenance("two_gemm"));
}

Plan mixed_plan(const PrefixForest& forest, const HeadConfig& heads, Rng& rng) {
  PlanBuilder builder(forest, heads);
  const ChainKernels kernels = chain_kernels(builder);
  const KernelId attend = builder.kernel(kernel_of(KernelRole::attend));
  const Interval chain = trees(forest).front();
  add_chain(builder, kernels, chain, rng);
  builder.launch();
  const TaskId first = builder.next_task();
  const std::int32_t most = queries_per_tile(builder.plan().kernels[attend], heads);
  for (NodeId n(chain.end); n.index() < forest.node_count(); ++n.value) {
    for (const auto& group : groups(rng, forest.request_begin[n].value, forest.request_end[n].value, most)) {
      const Segment segment = builder.segment(n, 0, forest.tokens[n], static_cast<std::int32_t>(group.size()));
      builder.attend(attend, std::span(&segment, 1), builder.queries(group));
    }
  }
  builder.task_phase(attend, first);
  builder.launch();
  builder.step_phase(kernels.reduce, builder.finish_rows(traces::Dtype::fp32));
  return std::move(builder).finish(provenance("mixed"));
}

}  // namespace espalier::scheduler::samples
