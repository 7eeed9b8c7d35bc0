// What a plan means: resolved segments, shapes of tasks and steps, its content hash, and the step to the next decoded
// token.
#include "scheduler/plan.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "core/error.h"
#include "core/hash.h"
#include "core/units.h"

namespace espalier::scheduler {
namespace {

using costmodel::KernelRole;

KernelRole role_of(TaskKind kind) {
  switch (kind) {
    case TaskKind::scores:
      return KernelRole::scores;
    case TaskKind::softmax:
      return KernelRole::softmax;
    case TaskKind::values:
      return KernelRole::values;
    case TaskKind::padding:
    case TaskKind::attend:
      break;
  }
  return KernelRole::attend;
}

/// Requests both lists name. Both are in depth-first order; the shorter is looked up in the longer.
std::int64_t common_requests(const Plan& plan, Interval a, Interval b) {
  if (a == b) return a.size();
  if (a.size() > b.size()) std::swap(a, b);
  const auto first = plan.query_rows.begin() + b.begin, last = plan.query_rows.begin() + b.end;
  std::int64_t common = 0;
  for (std::int32_t i = a.begin; i < a.end; ++i) {
    common += std::binary_search(first, last, plan.query_rows[static_cast<std::size_t>(i)]) ? 1 : 0;
  }
  return common;
}

void hash_kernel(core::Hasher& hash, const costmodel::KernelConfig& k) {
  hash.text(k.name);
  hash.value(k.role);
  hash.value(k.engine);
  hash.value(std::array<std::int32_t, 3>{k.query_tile, k.kv_tile, k.rows_per_warp});
  hash.value(static_cast<std::uint8_t>(k.packs_heads));
  hash.value(std::array<std::int32_t, 5>{k.stages, k.warps, k.smem_bytes, k.registers, k.cluster});
  hash.value(k.partial_dtype);
  hash.value(k.overlap);
  hash.value(k.efficiency);
  hash.value(static_cast<std::uint8_t>(k.implemented));
  hash.text(k.origin);
  if (k.lookups != 0) hash.value(k.lookups);  // plans without any keep the hashes they had before the field existed
}

void hash_heads(core::Hasher& hash, const traces::HeadConfig& h) {
  hash.value(std::array<std::int32_t, 4>{h.q_heads, h.kv_heads, h.qk_dim, h.v_dim});
  hash.value(h.q_dtype);
  hash.value(h.kv_dtype);
  hash.value(static_cast<std::uint8_t>(h.v_in_k));
  hash.value(h.scale);
}

void hash_provenance(core::Hasher& hash, const Provenance& p) {
  hash.text(p.strategy);
  hash.value(static_cast<std::uint64_t>(p.options.size()));
  for (const auto& [name, option] : p.options) {
    hash.text(name);
    hash.text(option);
  }
  hash.text(p.cost_model);
  hash.text(p.device);
  hash.text(p.kernels);
  hash.value(p.seed);
  hash.value(static_cast<std::uint8_t>(p.graph_safe));
  hash.value(static_cast<std::uint64_t>(p.why.size()));
  for (const std::string& sentence : p.why) hash.text(sentence);
}

/// Slots carry padding bytes, so they go through a packed copy, a block at a time to keep the hash at memory speed.
void hash_slots(core::Hasher& hash, const std::vector<Slot>& slots) {
  hash.value(static_cast<std::uint64_t>(slots.size()));
  using Row = std::array<std::int64_t, 5>;
  std::array<Row, 64> block;
  std::size_t filled = 0;
  const auto pair = [](std::int32_t low, std::int32_t high) {
    return static_cast<std::int64_t>(static_cast<std::uint32_t>(low)) | static_cast<std::int64_t>(high) << 32;
  };
  for (const Slot& s : slots) {
    block[filled++] = {pair(static_cast<std::int32_t>(s.kind), static_cast<std::int32_t>(s.dtype)),
                       pair(s.queries.begin, s.queries.end), pair(s.head_begin, s.head_count), s.columns, s.offset};
    if (filled == block.size()) hash.bytes(block.data(), sizeof block), filled = 0;
  }
  hash.bytes(block.data(), filled * sizeof(Row));
}

std::string node_where(NodeId n) { return fmt::format("plan: length of node {}", n.value); }

/// Longest end of a closed segment, and whether an open one exists, a node.
void check_lengths(const Plan& plan, const core::Column<NodeId, std::int64_t>& tokens) {
  const std::size_t n_nodes = plan.forest.node_count();
  if (tokens.size() != n_nodes) {
    throw core::bad_input("plan: node lengths", fmt::format("{}, one a node", n_nodes), std::to_string(tokens.size()));
  }
  core::Column<NodeId, std::int64_t> least(n_nodes, 1);
  core::Column<NodeId, char> open(n_nodes, 0);
  for (const Segment& s : plan.segments) {
    const bool to_end = s.token_end == kToNodeEnd;
    open[s.node] |= static_cast<char>(to_end);
    least[s.node] = std::max<std::int64_t>(least[s.node], to_end ? std::int64_t{s.token_begin} + 1 : s.token_end);
  }
  for (const NodeId n : core::ids<NodeId>(n_nodes)) {
    if (tokens[n] < least[n] || tokens[n] > traces::kMaxNodeTokens) {
      throw core::bad_input(node_where(n), fmt::format("{} to {}", least[n], traces::kMaxNodeTokens),
                            std::to_string(tokens[n]));
    }
    if (tokens[n] != plan.forest.tokens[n] && !open[n]) {
      throw core::bad_input(node_where(n), fmt::format("{} (no segment follows the node's end)", plan.forest.tokens[n]),
                            std::to_string(tokens[n]));
    }
  }
}

/// Pages for the new lengths. An identity layout in node order is laid out again; otherwise a node that outgrows its
/// pages keeps them and takes fresh ones behind the highest page in use.
void grow_pages(traces::PrefixForest& forest, const core::Column<NodeId, std::int64_t>& tokens) {
  traces::PageTable& pages = forest.pages;
  const auto nodes = core::ids<NodeId>(forest.node_count());
  bool packed = pages.page_ids.empty(), fits = true;
  std::int64_t next = 0, highest = -1;
  for (const NodeId n : nodes) {
    const std::int64_t last = traces::last_page(pages, n, forest.tokens[n]);
    packed = packed && pages.first_page[n] == next && pages.first_offset[n] == 0;
    fits = fits && traces::last_page(pages, n, tokens[n]) <= last;
    highest = std::max(highest, last);
    next = last + 1;
  }
  if (packed) {
    next = 0;
    for (const NodeId n : nodes) {
      pages.first_page[n] = next;
      next += core::ceil_div(tokens[n], pages.page_size);
    }
    return;
  }
  if (fits) return;
  for (const std::int64_t page : pages.page_ids) highest = std::max(highest, page);
  std::vector<std::int64_t> ids;
  for (const NodeId n : nodes) {
    const std::int64_t first = pages.first_page[n], last = traces::last_page(pages, n, forest.tokens[n]);
    const std::int64_t wanted = traces::last_page(pages, n, tokens[n]);
    pages.first_page[n] = static_cast<std::int64_t>(ids.size());
    for (std::int64_t page = first; page <= wanted; ++page) {
      const bool fresh = page > last;
      ids.push_back(fresh ? ++highest : pages.page_ids.empty() ? page : pages.page_ids[static_cast<std::size_t>(page)]);
    }
  }
  pages.page_ids = std::move(ids);
}

}  // namespace

std::string_view kind_name(TaskKind kind) {
  switch (kind) {
    case TaskKind::padding:
      return "padding";
    case TaskKind::attend:
      return "attend";
    case TaskKind::scores:
      return "scores";
    case TaskKind::softmax:
      return "softmax";
    case TaskKind::values:
      return "values";
  }
  core::fail_check(__FILE__, __LINE__, "known task kind", std::to_string(static_cast<int>(kind)));
}

std::int64_t segment_end(const Plan& plan, const Segment& segment) {
  return segment.token_end == kToNodeEnd ? plan.forest.tokens[segment.node] : segment.token_end;
}

core::Column<TaskId, KernelId> task_kernels(const Plan& plan) {
  core::Column<TaskId, KernelId> kernels(plan.tasks.size());
  for (const Phase& phase : plan.phases) {
    if (phase.kind != PhaseKind::tasks) continue;
    for (std::int32_t t = phase.range.begin; t < phase.range.end; ++t) kernels[TaskId(t)] = phase.kernel;
  }
  return kernels;
}

core::Column<StepId, KernelId> step_kernels(const Plan& plan) {
  core::Column<StepId, KernelId> kernels(plan.steps.size());
  for (const Phase& phase : plan.phases) {
    if (phase.kind != PhaseKind::steps) continue;
    for (std::int32_t s = phase.range.begin; s < phase.range.end; ++s) kernels[StepId(s)] = phase.kernel;
  }
  return kernels;
}

costmodel::TaskShape task_shape(const Plan& plan, const Task& task) {
  costmodel::TaskShape shape;
  shape.role = role_of(task.kind);
  shape.queries = task.queries.size();
  shape.heads = task.head_count;
  shape.segments = task.segments.size();
  shape.writes_partial = task.slot.valid();
  for (std::int32_t i = task.segments.begin; i < task.segments.end; ++i) {
    const Segment& s = plan.segments[static_cast<std::size_t>(i)];
    const std::int64_t tokens = segment_tokens(plan, s);
    shape.kv_tokens += tokens;
    shape.visible_pairs += tokens * (s.row_end - s.row_begin);
  }
  std::int64_t scores = 0;
  for (std::int32_t i = task.folds.begin; i < task.folds.end; ++i) {
    const Slot& slot = plan.slots[plan.fold_slots[static_cast<std::size_t>(i)]];
    const std::int64_t rows = common_requests(plan, task.queries, slot.queries);
    shape.folded_rows += rows;
    if (slot.kind == SlotKind::scores) scores += rows * slot.columns;
  }
  if (task.kind == TaskKind::softmax || task.kind == TaskKind::values) {
    // A row here is a query with all its scores, however many slots hold them; exact when the queries have equally
    // many.
    shape.folded_rows = std::min<std::int64_t>(shape.folded_rows, shape.queries);
    shape.folded_columns = shape.folded_rows > 0 ? core::ceil_div(scores, shape.folded_rows) : 0;
  }
  return shape;
}

costmodel::ReductionShape step_shape(const Plan&, const ReductionStep& step) {
  return {step.rows, step.head_count, step.inputs.size(), step.out.valid()};
}

std::uint64_t plan_hash(const Plan& plan) {
  core::Hasher hash;
  hash.value(traces::forest_hash(plan.forest));
  hash_heads(hash, plan.heads);
  hash_provenance(hash, plan.provenance);
  hash.value(static_cast<std::uint64_t>(plan.kernels.size()));
  for (const auto& kernel : plan.kernels) hash_kernel(hash, kernel);
  hash.column(plan.launches.raw());
  hash.column(plan.dependencies);
  hash.column(plan.phases);
  hash.column(plan.tasks.raw());
  hash.column(plan.segments);
  hash.column(plan.query_rows);
  hash.column(plan.fold_slots);
  hash_slots(hash, plan.slots.raw());
  hash.column(plan.steps.raw());
  hash.column(plan.reduction_inputs);
  hash.column(plan.queues);
  hash.column(plan.queue_items);
  hash.value(plan.workspace_bytes);
  return hash.digest();
}

void seal(Plan& plan) { plan.hash = plan_hash(plan); }

void grow(Plan& plan, const core::Column<NodeId, std::int64_t>& tokens) {
  check_lengths(plan, tokens);
  const auto tokens_of = [&](const Segment& s) {
    return (s.token_end == kToNodeEnd ? tokens[s.node] : s.token_end) - s.token_begin;
  };
  for (const TaskId t : core::ids<TaskId>(plan.tasks.size())) {
    const Task& task = plan.tasks[t];
    if (task.kind != TaskKind::scores || !task.slot.valid()) continue;
    std::int64_t columns = 0;
    for (std::int32_t i = task.segments.begin; i < task.segments.end; ++i) {
      columns += tokens_of(plan.segments[static_cast<std::size_t>(i)]);
    }
    if (columns > plan.slots[task.slot].columns) {
      throw core::bad_input(fmt::format("plan: tokens of task {}", t.value),
                            fmt::format("at most the {} columns of its score slot", plan.slots[task.slot].columns),
                            std::to_string(columns));
    }
  }
  grow_pages(plan.forest, tokens);
  plan.forest.tokens = tokens;
  for (const NodeId n : core::ids<NodeId>(plan.forest.node_count())) {
    const NodeId parent = plan.forest.parent[n];
    plan.forest.tokens_before[n] = parent.valid() ? plan.forest.tokens_before[parent] + tokens[parent] : 0;
  }
  seal(plan);
}

}  // namespace espalier::scheduler
