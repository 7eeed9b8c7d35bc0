// A request joins a plan, in tasks of its own. Positions below are rows of Plan::query_rows, whose first rows are all
// requests in order.
#include <fmt/core.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/units.h"
#include "scheduler/batch_update.h"
#include "scheduler/batch_update_internal.h"
#include "scheduler/plan_builder.h"

namespace espalier::scheduler {
namespace {

using namespace updating;

class Joining {
 public:
  Joining(Plan& plan, const Newcomer& newcomer) : plan_(plan), forest_(plan.forest), newcomer_(newcomer) {
    const bool root = !newcomer.prefix.valid();
    at_ = root ? RequestId(forest_.request_count()) : forest_.request_end[newcomer.prefix];
    // Behind all nodes below the prefix: those that begin with its requests.
    const auto begins = forest_.request_begin.raw().begin();
    const auto from = root ? forest_.request_begin.raw().end() : begins + newcomer.prefix.value;
    node_ = NodeId(static_cast<std::int32_t>(std::lower_bound(from, forest_.request_begin.raw().end(), at_) - begins));
  }

  std::optional<RequestId> run() {
    if (!rewritable(plan_) || !find_phases()) return std::nullopt;
    const std::int64_t most = std::max(longest_task_tokens(plan_), std::int64_t{kernel().kv_tile});
    std::int64_t context = newcomer_.tokens;
    if (newcomer_.prefix.valid()) context += forest_.tokens_before[newcomer_.prefix] + forest_.tokens[newcomer_.prefix];
    const std::int64_t pieces = core::ceil_div(context, most);
    if (pieces > 1 && step_phase_ == nullptr) return std::nullopt;
    const bool packed = pages_are_packed(forest_);
    extend_forest();
    if (packed) pack_pages(forest_);
    make_room();
    add_tasks(core::round_up(core::ceil_div(context, pieces), kernel().kv_tile));
    seal(plan_);
    return at_;
  }

 private:
  const costmodel::KernelConfig& kernel() const { return plan_.kernels[task_phase_->kernel]; }

  /// New tasks and steps stand behind all others: in the phases that end there.
  bool find_phases() {
    for (Launch& launch : plan_.launches) {
      for (std::int32_t p = launch.phases.begin; p < launch.phases.end; ++p) {
        Phase& phase = plan_.phases[static_cast<std::size_t>(p)];
        const bool tasks = phase.kind == PhaseKind::tasks;
        if (phase.range.end != static_cast<std::int32_t>(tasks ? plan_.tasks.size() : plan_.steps.size())) continue;
        if (!tasks) {
          step_phase_ = &phase;
        } else {
          task_phase_ = &phase, launch_ = &launch;
        }
      }
    }
    return task_phase_ != nullptr && kernel().role == costmodel::KernelRole::attend;
  }

  void extend_forest() {
    const std::int32_t place = static_cast<std::int32_t>(forest_.request_count());
    for (NodeId& leaf : forest_.leaf) leaf.value += leaf >= node_ ? 1 : 0;
    insert(forest_.leaf, at_.value, node_);
    insert(forest_.request_label, at_.value, newcomer_.label);
    insert(forest_.batch_position, at_.value, place);
    std::int64_t label = -1, page = -1;
    for (const NodeId n : core::ids<NodeId>(forest_.node_count())) {
      label = std::max(label, forest_.node_label[n]);
      page = std::max(page, traces::last_page(forest_.pages, n, forest_.tokens[n]));
      if (n < node_) continue;
      ++forest_.request_begin[n].value;
      ++forest_.request_end[n].value;
      forest_.parent[n].value += forest_.parent[n] >= node_ ? 1 : 0;
    }
    for (NodeId n = newcomer_.prefix; n.valid(); n = forest_.parent[n]) ++forest_.request_end[n].value;
    traces::PageTable& pages = forest_.pages;
    std::int64_t first_page = page + 1;
    if (!pages.page_ids.empty()) {
      for (const std::int64_t id : pages.page_ids) page = std::max(page, id);
      first_page = static_cast<std::int64_t>(pages.page_ids.size());
      for (std::int64_t i = core::ceil_div(newcomer_.tokens, pages.page_size); i > 0; --i) {
        pages.page_ids.push_back(++page);
      }
    }
    const NodeId prefix = newcomer_.prefix;
    insert(forest_.tokens_before, node_.value,
           prefix.valid() ? forest_.tokens_before[prefix] + forest_.tokens[prefix] : 0);
    insert(forest_.parent, node_.value, prefix);
    insert(forest_.tokens, node_.value, newcomer_.tokens);
    insert(forest_.request_begin, node_.value, at_);
    insert(forest_.request_end, node_.value, RequestId(at_.value + 1));
    insert(forest_.node_label, node_.value, label + 1);
    insert(pages.first_page, node_.value, first_page);
    insert(pages.first_offset, node_.value, 0);
  }

  template <class Column, class T>
  static void insert(Column& column, std::int32_t at, const T& row) {
    column.raw().insert(column.raw().begin() + at, row);
  }

  /// The others' rows move; a group that the newcomer would fall into becomes a list without it.
  void make_room() {
    for (RequestId& r : plan_.query_rows) r.value += r >= at_ ? 1 : 0;
    plan_.query_rows.insert(plan_.query_rows.begin() + at_.value, at_);
    Interval before, after;  // neighbouring tasks often have one group
    for (Task& task : plan_.tasks) {
      if (task.kind == TaskKind::padding) continue;
      if (task.queries != before) {
        before = task.queries;
        after = moved(before);
      }
      task.queries = after;
      if (task.slot.valid()) plan_.slots[task.slot].queries = after;
    }
    for (Segment& s : plan_.segments) s.node.value += s.node >= node_ ? 1 : 0;
    for (ReductionStep& step : plan_.steps) {
      const RowRef first = plan_.reduction_inputs[static_cast<std::size_t>(step.inputs.begin)];
      step.out_row = plan_.slots[first.slot].queries.begin + first.row;
    }
  }

  Interval moved(Interval rows) {
    if (rows.end <= at_.value) return rows;
    if (rows.begin >= at_.value) return {rows.begin + 1, rows.end + 1};
    const auto begin = static_cast<std::int32_t>(plan_.query_rows.size());
    for (std::int32_t i = rows.begin; i <= rows.end; ++i) {
      if (i != at_.value) plan_.query_rows.push_back(RequestId(i));
    }
    return {begin, static_cast<std::int32_t>(plan_.query_rows.size())};
  }

  /// One query a task, cut every `piece` tokens of its path.
  void add_tasks(std::int64_t piece) {
    const std::vector<NodeId> path = traces::path_of(forest_, node_);
    const std::int32_t heads = heads_per_copy(kernel(), plan_.heads),
                       first_task = static_cast<std::int32_t>(plan_.tasks.size());
    std::int64_t room = 0;
    for (const NodeId n : path) {
      for (std::int64_t begin = 0; begin < forest_.tokens[n];) {
        if (room == 0) {
          Task task;
          task.segments = {static_cast<std::int32_t>(plan_.segments.size()),
                           static_cast<std::int32_t>(plan_.segments.size())};
          task.queries = {at_.value, at_.value + 1};
          task.head_count = heads;
          task.copies = plan_.heads.q_heads / heads;
          plan_.tasks.push_back(task);
          room = piece;
        }
        const std::int64_t end = std::min(forest_.tokens[n], begin + room);
        plan_.segments.push_back({n, static_cast<std::int32_t>(begin),
                                  end == forest_.tokens[n] ? kToNodeEnd : static_cast<std::int32_t>(end), 0, 1});
        plan_.tasks.raw().back().segments.end = static_cast<std::int32_t>(plan_.segments.size());
        room -= end - begin;
        begin = end;
      }
    }
    task_phase_->range.end = static_cast<std::int32_t>(plan_.tasks.size());
    if (task_phase_->range.end - first_task > 1) merge(first_task);
    if (launch_->workers > 0) enqueue(first_task);
  }

  void merge(std::int32_t first_task) {
    ReductionStep step;
    step.inputs.begin = static_cast<std::int32_t>(plan_.reduction_inputs.size());
    for (std::int32_t t = first_task; t < static_cast<std::int32_t>(plan_.tasks.size()); ++t) {
      Slot slot;
      slot.queries = {at_.value, at_.value + 1};
      slot.head_count = plan_.heads.q_heads;
      slot.dtype = plan_.slots.empty() ? traces::Dtype::fp32 : plan_.slots.raw().front().dtype;
      slot.columns = plan_.heads.v_dim;
      slot.offset = core::round_up(plan_.workspace_bytes, kSlotAlignment);
      plan_.workspace_bytes = slot.offset + slot_bytes(slot);
      plan_.tasks[TaskId(t)].slot = plan_.slots.push_back(slot);
      plan_.reduction_inputs.push_back({plan_.tasks[TaskId(t)].slot, 0});
    }
    step.inputs.end = static_cast<std::int32_t>(plan_.reduction_inputs.size());
    step.out_row = at_.value;
    step.head_count = plan_.heads.q_heads;
    plan_.steps.push_back(step);
    step_phase_->range.end = static_cast<std::int32_t>(plan_.steps.size());
  }

  /// Copies of the new tasks go to the launch's workers in turn, from the last backwards: in equal shares the last is
  /// the shortest.
  void enqueue(std::int32_t first_task) {
    std::vector<std::vector<QueueItem>> more(static_cast<std::size_t>(launch_->workers));
    std::size_t worker = 0;
    for (std::int32_t t = first_task; t < static_cast<std::int32_t>(plan_.tasks.size()); ++t) {
      for (std::int32_t c = 0; c < plan_.tasks[TaskId(t)].copies; ++c) {
        more[worker++ % more.size()].push_back({TaskId(t), c});
      }
    }
    std::vector<QueueItem> items;
    items.reserve(plan_.queue_items.size() + worker);
    for (std::int32_t q = 0; q < static_cast<std::int32_t>(plan_.queues.size()); ++q) {
      Interval& queue = plan_.queues[static_cast<std::size_t>(q)];
      const auto begin = static_cast<std::int32_t>(items.size());
      items.insert(items.end(), plan_.queue_items.begin() + queue.begin, plan_.queue_items.begin() + queue.end);
      const std::int32_t own = q - launch_->queue_begin;
      if (own >= 0 && own < launch_->workers) {
        const auto& extra = more[static_cast<std::size_t>(launch_->workers - 1 - own)];
        items.insert(items.end(), extra.begin(), extra.end());
      }
      queue = {begin, static_cast<std::int32_t>(items.size())};
    }
    plan_.queue_items = std::move(items);
  }

  Plan& plan_;
  traces::PrefixForest& forest_;
  const Newcomer& newcomer_;
  RequestId at_;
  NodeId node_;
  Phase* task_phase_ = nullptr;
  Phase* step_phase_ = nullptr;
  Launch* launch_ = nullptr;
};

}  // namespace

std::optional<RequestId> join(Plan& plan, const Newcomer& newcomer) {
  ESPALIER_CHECK(!newcomer.prefix.valid() || newcomer.prefix.index() < plan.forest.node_count());
  if (newcomer.tokens < 1 || newcomer.tokens > traces::kMaxNodeTokens) {
    throw core::bad_input("plan: tokens of a request that joins", fmt::format("1 to {}", traces::kMaxNodeTokens),
                          std::to_string(newcomer.tokens));
  }
  return Joining(plan, newcomer).run();
}

}  // namespace espalier::scheduler
