// The sample plans. Cuts are random, so that no two plans of a shape are alike.
#include "tests/scheduler/sample_plans.h"

#include <algorithm>

#include "tests/scheduler/sample_pieces.h"

namespace espalier::scheduler::samples {
namespace {

/// Cut nodes x cut groups, attend tasks without output yet.
void add_node_tasks(PlanBuilder& builder, KernelId kernel, const PrefixForest& forest, Rng& rng) {
  const std::int32_t most = queries_per_tile(builder.plan().kernels[kernel], builder.plan().heads);
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    const auto at = cuts(rng, 0, forest.tokens[n], longest_piece(rng));
    for (std::size_t c = 0; c + 1 < at.size(); ++c) {
      for (const auto& group : groups(rng, forest.request_begin[n].value, forest.request_end[n].value, most)) {
        const Segment segment = builder.segment(n, at[c], at[c + 1], static_cast<std::int32_t>(group.size()));
        builder.attend(kernel, std::span(&segment, 1), builder.queries(group));
      }
    }
  }
}

}  // namespace

PrefixForest ragged_forest(Rng& rng, int max_nodes, std::int64_t max_tokens) {
  traces::ForestSource source;
  source.name = "random";
  const std::int64_t nodes = rng.integer(1, max_nodes);
  for (std::int64_t n = 0; n < nodes; ++n) {
    source.parent.push_back(n == 0 || rng.chance(0.15) ? -1 : rng.integer(std::max<std::int64_t>(0, n - 4), n - 1));
    source.tokens.push_back(rng.integer(1, max_tokens));
    const std::int64_t requests = rng.chance(0.5) ? 1 : rng.integer(0, 3);
    for (std::int64_t r = 0; r < requests; ++r) source.leaf.push_back(n);
  }
  if (source.leaf.empty()) source.leaf.push_back(nodes - 1);
  source.page_size = static_cast<std::int32_t>(rng.integer(1, 3));
  return traces::make_forest(source);
}

const costmodel::DeviceSpec& sample_device() {
  static const costmodel::DeviceSpec device = [] {
    costmodel::DeviceSpec d;
    d.name = "sample";
    return d;
  }();
  return device;
}

Plan node_plan(const PrefixForest& forest, const HeadConfig& heads, Rng& rng) {
  PlanBuilder builder(forest, heads);
  const KernelId attend = builder.kernel(kernel_of(KernelRole::attend)),
                 reduce = builder.kernel(kernel_of(KernelRole::reduce));
  builder.launch();
  const TaskId first = builder.next_task();
  add_node_tasks(builder, attend, forest, rng);
  builder.padding(static_cast<std::int32_t>(rng.integer(0, 3)));
  builder.task_phase(attend, first);
  builder.launch();
  builder.step_phase(reduce, builder.finish_rows(traces::Dtype::fp32));
  return std::move(builder).finish(provenance("node"));
}

Plan request_plan(const PrefixForest& forest, const HeadConfig& heads, Rng& rng) {
  PlanBuilder builder(forest, heads);
  const KernelId attend = builder.kernel(kernel_of(KernelRole::attend)),
                 reduce = builder.kernel(kernel_of(KernelRole::reduce));
  builder.launch();
  const TaskId first = builder.next_task();
  for (const RequestId r : core::ids<RequestId>(forest.request_count())) {
    const std::vector<NodeId> path = traces::path_of(forest, forest.leaf[r]);
    const auto at = cuts(rng, 0, forest.context_tokens(r), 3 * longest_piece(rng));
    for (std::size_t c = 0; c + 1 < at.size(); ++c) {
      std::vector<Segment> segments;
      for (const NodeId n : path) {
        const std::int64_t begin = std::max<std::int64_t>(at[c] - forest.tokens_before[n], 0);
        const std::int64_t end = std::min(at[c + 1] - forest.tokens_before[n], forest.tokens[n]);
        if (begin < end) segments.push_back(builder.segment(n, begin, end, 1));
      }
      builder.attend(attend, segments, builder.queries(r, RequestId(r.value + 1)));
    }
  }
  builder.task_phase(attend, first);
  builder.launch();
  builder.step_phase(reduce, builder.finish_rows(traces::Dtype::fp32));
  return std::move(builder).finish(provenance("request"));
}

Plan block_plan(const PrefixForest& forest, const HeadConfig& heads, Rng& rng) {
  PlanBuilder builder(forest, heads);
  const KernelId attend = builder.kernel(kernel_of(KernelRole::attend)),
                 reduce = builder.kernel(kernel_of(KernelRole::reduce));
  const std::int32_t most = queries_per_tile(builder.plan().kernels[attend], heads);
  const std::int64_t block = rng.integer(3, 32);
  builder.launch();
  const TaskId first = builder.next_task();
  std::vector<Segment> open;
  std::int64_t filled = 0;
  const auto flush = [&] {
    std::vector<RequestId> readers;
    for (const Segment& s : open) {
      for (RequestId r = forest.request_begin[s.node]; r < forest.request_end[s.node]; ++r.value) readers.push_back(r);
    }
    std::sort(readers.begin(), readers.end());
    readers.erase(std::unique(readers.begin(), readers.end()), readers.end());
    for (std::size_t g = 0; g < readers.size(); g += static_cast<std::size_t>(most)) {
      const std::vector<RequestId> group(
          readers.begin() + static_cast<std::ptrdiff_t>(g),
          readers.begin() + static_cast<std::ptrdiff_t>(std::min(readers.size(), g + static_cast<std::size_t>(most))));
      std::vector<Segment> seen;
      for (Segment s : open) {
        const auto row = [&](RequestId r) {
          return static_cast<std::int32_t>(std::lower_bound(group.begin(), group.end(), r) - group.begin());
        };
        s.row_begin = row(forest.request_begin[s.node]);
        s.row_end = row(forest.request_end[s.node]);
        if (s.row_begin < s.row_end) seen.push_back(s);
      }
      builder.attend(attend, seen, builder.queries(group));
    }
    open.clear();
    filled = 0;
  };
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    for (std::int64_t t = 0; t < forest.tokens[n];) {
      const std::int64_t take = std::min(forest.tokens[n] - t, block - filled);
      open.push_back(builder.segment(n, t, t + take, 0));
      t += take;
      filled += take;
      if (filled == block) flush();
    }
  }
  if (!open.empty()) flush();
  builder.task_phase(attend, first);
  builder.launch();
  builder.step_phase(reduce, builder.finish_rows(traces::Dtype::fp32));
  return std::move(builder).finish(provenance("block"));
}

Plan headwise_plan(const PrefixForest& forest, const HeadConfig& heads, Rng& rng) {
  PlanBuilder builder(forest, heads);
  const KernelId attend = builder.kernel(kernel_of(KernelRole::attend)),
                 reduce = builder.kernel(kernel_of(KernelRole::reduce));
  const std::int32_t most = queries_per_tile(builder.plan().kernels[attend], heads);
  builder.launch();
  const TaskId first = builder.next_task();
  for (std::int32_t kv = 0; kv < heads.kv_heads; ++kv) {
    for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
      const auto at = cuts(rng, 0, forest.tokens[n], 3 * longest_piece(rng));
      for (std::size_t c = 0; c + 1 < at.size(); ++c) {
        for (const auto& group : groups(rng, forest.request_begin[n].value, forest.request_end[n].value, most)) {
          const Segment segment = builder.segment(n, at[c], at[c + 1], static_cast<std::int32_t>(group.size()));
          Task task =
              task_of(builder, TaskKind::attend, builder.segments(std::span(&segment, 1)), builder.queries(group));
          task.head_begin = kv * heads.group();
          task.copies = heads.group() / task.head_count;
          builder.task(task);
        }
      }
    }
  }
  builder.task_phase(attend, first);
  builder.launch();
  builder.step_phase(reduce, builder.finish_rows(traces::Dtype::fp32));
  return std::move(builder).finish(provenance("headwise"));
}

Plan fold_plan(const PrefixForest& forest, const HeadConfig& heads, Rng& rng) {
  PlanBuilder builder(forest, heads);
  const KernelId attend = builder.kernel(kernel_of(KernelRole::attend));
  const std::int32_t most = queries_per_tile(builder.plan().kernels[attend], heads);
  std::vector<std::vector<SlotId>> of_request(forest.request_count());
  builder.launch();
  TaskId first = builder.next_task();
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    if (forest.readers(n) < 2) continue;
    for (const auto& group : groups(rng, forest.request_begin[n].value, forest.request_end[n].value, most)) {
      const Interval queries = builder.queries(group);
      const Segment segment = builder.segment(n, 0, forest.tokens[n], queries.size());
      Task task = task_of(builder, TaskKind::attend, builder.segments(std::span(&segment, 1)), queries);
      task.slot = builder.slot(slot_of(heads, SlotKind::partial, queries, heads.v_dim));
      for (const RequestId r : group) of_request[r.index()].push_back(task.slot);
      builder.task(task);
    }
  }
  builder.task_phase(attend, first);
  builder.launch();
  first = builder.next_task();
  for (const RequestId r : core::ids<RequestId>(forest.request_count())) {
    std::vector<Segment> own;
    for (const NodeId n : traces::path_of(forest, forest.leaf[r])) {
      if (forest.readers(n) == 1) own.push_back(builder.segment(n, 0, forest.tokens[n], 1));
    }
    Task task = task_of(builder, TaskKind::attend, builder.segments(own), builder.queries(r, RequestId(r.value + 1)));
    task.folds = builder.folds(of_request[r.index()]);
    builder.task(task);
  }
  builder.task_phase(attend, first);
  return std::move(builder).finish(provenance("fold"));
}

Plan cascade_plan(const PrefixForest& forest, const HeadConfig& heads, Rng&) {
  PlanBuilder builder(forest, heads);
  KernelConfig wide = kernel_of(KernelRole::attend);
  wide.query_tile = 1 << 12;  // a level's segment is one task
  const KernelId attend = builder.kernel(wide), reduce = builder.kernel(kernel_of(KernelRole::reduce));
  const auto depth = traces::depths(forest);
  std::vector<RowRef> row_of(forest.request_count());  // where each request's running partial is
  core::Column<NodeId, SlotId> own(forest.node_count());
  builder.launch();
  const TaskId first = builder.next_task();
  std::int32_t deepest = 0;
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    const Interval queries = builder.queries(forest.request_begin[n], forest.request_end[n]);
    const Segment segment = builder.segment(n, 0, forest.tokens[n], queries.size());
    Task task = task_of(builder, TaskKind::attend, builder.segments(std::span(&segment, 1)), queries);
    task.slot = own[n] = builder.slot(slot_of(heads, SlotKind::partial, queries, heads.v_dim));
    builder.task(task);
    deepest = std::max(deepest, depth[n]);
  }
  builder.task_phase(attend, first);
  for (const RequestId r : core::ids<RequestId>(forest.request_count())) {
    row_of[r.index()] = {own[forest.leaf[r]], r.value - forest.request_begin[forest.leaf[r]].value};
  }
  for (std::int32_t level = deepest; level >= 0; --level) {
    builder.launch();
    const StepId begin = builder.next_step();
    for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
      if (depth[n] != level) continue;
      for (std::int32_t r = forest.request_begin[n].value; r < forest.request_end[n].value;) {
        const RowRef from = row_of[static_cast<std::size_t>(r)];
        std::int32_t end = r;
        while (end < forest.request_end[n].value && row_of[static_cast<std::size_t>(end)].slot == from.slot) ++end;
        const std::int32_t rows = end - r;
        std::vector<RowRef> inputs{from};
        if (from.slot != own[n]) inputs.push_back({own[n], r - forest.request_begin[n].value});
        if (level == 0) {
          builder.step(step_of(heads, rows, SlotId(), r), inputs);
        } else if (inputs.size() > 1) {
          const Interval queries = builder.queries(RequestId(r), RequestId(end));
          const SlotId merged = builder.slot(slot_of(heads, SlotKind::partial, queries, heads.v_dim));
          if (builder.plan().slots[from.slot].queries.size() == rows) builder.reuse_storage(merged, from.slot);
          builder.step(step_of(heads, rows, merged, 0), inputs);
          for (std::int32_t i = r; i < end; ++i) row_of[static_cast<std::size_t>(i)] = {merged, i - r};
        }
        r = end;
      }
    }
    builder.step_phase(reduce, begin);
  }
  return std::move(builder).finish(provenance("cascade"));
}

Plan arrival_plan(const PrefixForest& forest, const HeadConfig& heads, Rng& rng) {
  PlanBuilder builder(forest, heads);
  const KernelId attend = builder.kernel(kernel_of(KernelRole::attend)),
                 reduce = builder.kernel(kernel_of(KernelRole::reduce));
  builder.launch();
  std::vector<std::vector<RowRef>> rows(forest.request_count());
  const TaskId first = builder.next_task();
  add_node_tasks(builder, attend, forest, rng);
  for (TaskId t = first; t < builder.next_task(); ++t.value) {
    const Interval queries = builder.plan().tasks[t].queries;
    const SlotId slot = builder.slot(slot_of(heads, SlotKind::partial, queries, heads.v_dim));
    builder.plan().tasks[t].slot = slot;
    for (std::int32_t q = queries.begin; q < queries.end; ++q) {
      rows[builder.plan().query_rows[static_cast<std::size_t>(q)].index()].push_back({slot, q - queries.begin});
    }
  }
  builder.task_phase(attend, first);
  const StepId begin = builder.next_step();
  for (const RequestId r : core::ids<RequestId>(forest.request_count())) {
    auto& list = rows[r.index()];
    while (list.size() > 2) {
      const std::vector<RowRef> pair{list[0], list[1]};
      const SlotId merged =
          builder.slot(slot_of(heads, SlotKind::partial, builder.queries(r, RequestId(r.value + 1)), heads.v_dim));
      builder.step(step_of(heads, 1, merged, 0), pair);
      list.erase(list.begin(), list.begin() + 2);
      list.push_back({merged, 0});
    }
    builder.step(step_of(heads, 1, SlotId(), r.value), list);
  }
  builder.step_phase(reduce, begin, PhaseStart::on_arrival);
  return std::move(builder).finish(provenance("arrival"));
}

Plan queue_plan(const PrefixForest& forest, const HeadConfig& heads, Rng& rng) {
  PlanBuilder builder(forest, heads);
  const KernelId attend = builder.kernel(kernel_of(KernelRole::attend)),
                 reduce = builder.kernel(kernel_of(KernelRole::reduce));
  builder.launch();
  const TaskId first = builder.next_task();
  add_node_tasks(builder, attend, forest, rng);
  builder.task_phase(attend, first);
  std::vector<std::vector<QueueItem>> workers(static_cast<std::size_t>(rng.integer(1, 7)));
  for (TaskId t = first; t < builder.next_task(); ++t.value) {
    for (std::int32_t c = 0; c < builder.plan().tasks[t].copies; ++c) {
      workers[static_cast<std::size_t>(rng.integer(0, static_cast<std::int64_t>(workers.size()) - 1))].push_back(
          {t, c});
    }
  }
  builder.queues(workers);
  builder.step_phase(reduce, builder.finish_rows(traces::Dtype::fp32), PhaseStart::barrier);
  return std::move(builder).finish(provenance("queue"));
}

std::vector<Sample> all_samples(const PrefixForest& forest, const HeadConfig& heads, Rng& rng) {
  std::vector<Sample> samples;
  samples.push_back({"node", node_plan(forest, heads, rng)});
  samples.push_back({"request", request_plan(forest, heads, rng)});
  samples.push_back({"block", block_plan(forest, heads, rng)});
  samples.push_back({"headwise", headwise_plan(forest, heads, rng)});
  samples.push_back({"fold", fold_plan(forest, heads, rng)});
  samples.push_back({"cascade", cascade_plan(forest, heads, rng)});
  samples.push_back({"arrival", arrival_plan(forest, heads, rng)});
  samples.push_back({"queue", queue_plan(forest, heads, rng)});
  samples.push_back({"two_gemm", two_gemm_plan(forest, heads, rng)});
  samples.push_back({"mixed", mixed_plan(forest, heads, rng)});
  return samples;
}

}  // namespace espalier::scheduler::samples
