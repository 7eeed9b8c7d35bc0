#include "viz/model/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "viz/model/selection.h"
#include "viz/model/sharing.h"

namespace espalier::viz {
namespace {

using traces::NodeId;
using traces::RequestId;

constexpr double kNever = std::numeric_limits<double>::infinity();

struct Times {
  double begin_us = kNever, end_us = -kNever;
};

/// Of each task and of each merge; items whose spans weren't recorded stay at never.
struct ItemTimes {
  std::vector<Times> tasks, merges;
};

ItemTimes item_times(const scheduler::Plan& plan, const sim::SimResult& result) {
  ESPALIER_CHECK_OP(result.timeline.plan_hash, ==, plan.hash);
  ItemTimes times{std::vector<Times>(plan.tasks.size()), std::vector<Times>(plan.steps.size())};
  for (const scheduler::Span& span : result.timeline.spans) {
    if (span.kind != scheduler::SpanKind::task && span.kind != scheduler::SpanKind::step) continue;
    Times& t =
        (span.kind == scheduler::SpanKind::task ? times.tasks : times.merges)[static_cast<std::size_t>(span.item)];
    t.begin_us = std::min(t.begin_us, span.begin_us);
    t.end_us = std::max(t.end_us, span.end_us);
  }
  return times;
}

std::string us_text(double us) { return us == kNever || us == -kNever ? "" : fmt::format("{:.3f}", us); }

std::string cell(std::int64_t value) { return fmt::format("{}", value); }

/// Launch of each task by the phase it stands in.
std::vector<std::int32_t> task_launches(const scheduler::Plan& plan) {
  std::vector<std::int32_t> launches(plan.tasks.size(), -1);
  for (std::size_t l = 0; l < plan.launches.size(); ++l) {
    const scheduler::Interval phases = plan.launches[scheduler::LaunchId(l)].phases;
    for (std::int32_t p = phases.begin; p < phases.end; ++p) {
      const scheduler::Phase& phase = plan.phases[static_cast<std::size_t>(p)];
      if (phase.kind != scheduler::PhaseKind::tasks) continue;
      for (std::int32_t t = phase.range.begin; t < phase.range.end; ++t) {
        launches[static_cast<std::size_t>(t)] = static_cast<std::int32_t>(l);
      }
    }
  }
  return launches;
}

std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string out(1, '"');
  for (const char c : text) out.append(c == '"' ? 2 : 1, c);
  out += '"';
  return out;
}

void append_line(std::string& out, const std::vector<std::string>& cells) {
  for (std::size_t i = 0; i < cells.size(); ++i) {
    if (i > 0) out += ',';
    out += quoted(cells[i]);
  }
  out += '\n';
}

}  // namespace

DataTable node_table(const traces::PrefixForest& forest, std::int64_t bytes_per_token, const scheduler::Plan* plan) {
  DataTable table;
  table.headings = {"node",          "label",    "parent",   "depth",      "tokens",
                    "tokens_before", "requests", "kv_bytes", "saved_bytes"};
  if (plan != nullptr) table.headings.insert(table.headings.end(), {"tasks", "tokens_read"});
  const auto depth = traces::depths(forest);
  const PlanLinks links = plan != nullptr ? link(*plan) : PlanLinks{};
  std::vector<std::int64_t> read(forest.node_count());  // of query head 0
  if (plan != nullptr) {
    for (const scheduler::Task& task : plan->tasks) {
      if (task.head_begin != 0) continue;
      for (std::int32_t s = task.segments.begin; s < task.segments.end; ++s) {
        const scheduler::Segment& segment = plan->segments[static_cast<std::size_t>(s)];
        read[segment.node.index()] += scheduler::segment_tokens(*plan, segment);
      }
    }
  }
  for (std::size_t i = 0; i < forest.node_count(); ++i) {
    const NodeId n(i);
    std::vector<std::string> row = {cell(n.value),
                                    cell(forest.node_label[n]),
                                    forest.is_root(n) ? "" : cell(forest.parent[n].value),
                                    cell(depth[n]),
                                    cell(forest.tokens[n]),
                                    cell(forest.tokens_before[n]),
                                    cell(forest.readers(n)),
                                    cell(forest.tokens[n] * bytes_per_token),
                                    fmt::format("{:.0f}", bytes_saved(forest, n, bytes_per_token))};
    if (plan != nullptr) {
      row.push_back(cell(static_cast<std::int64_t>(links.tasks_of_node.of(n.value).size())));
      row.push_back(cell(read[i]));
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

DataTable request_table(const traces::PrefixForest& forest, const scheduler::Plan* plan, const sim::SimResult* result) {
  ESPALIER_CHECK((plan == nullptr) == (result == nullptr));
  DataTable table;
  table.headings = {"request", "label", "batch_position", "leaf", "depth", "context_tokens", "private_tokens"};
  if (plan != nullptr) table.headings.insert(table.headings.end(), {"tasks", "merges", "begin_us", "done_us"});
  const auto depth = traces::depths(forest);
  const PlanLinks links = plan != nullptr ? link(*plan) : PlanLinks{};
  const ItemTimes times = plan != nullptr ? item_times(*plan, *result) : ItemTimes{};
  for (std::size_t i = 0; i < forest.request_count(); ++i) {
    const RequestId r(i);
    const NodeId leaf = forest.leaf[r];
    std::vector<std::string> row = {cell(r.value),
                                    forest.request_label[r],
                                    cell(forest.batch_position[r]),
                                    cell(leaf.value),
                                    cell(depth[leaf]),
                                    cell(forest.context_tokens(r)),
                                    cell(forest.readers(leaf) == 1 ? forest.tokens[leaf] : 0)};
    if (plan != nullptr) {
      const std::vector<std::int32_t> tasks = links.tasks_of_request.of(r.value),
                                      merges = links.merges_of_request.of(r.value);
      Times all;
      const auto extend = [&](const Times& t) {
        all = {std::min(all.begin_us, t.begin_us), std::max(all.end_us, t.end_us)};
      };
      for (const std::int32_t t : tasks) extend(times.tasks[static_cast<std::size_t>(t)]);
      for (const std::int32_t m : merges) extend(times.merges[static_cast<std::size_t>(m)]);
      row.insert(row.end(),
                 {cell(static_cast<std::int64_t>(tasks.size())), cell(static_cast<std::int64_t>(merges.size())),
                  us_text(all.begin_us), us_text(all.end_us)});
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

DataTable task_table(const scheduler::Plan& plan, const sim::SimResult& result) {
  DataTable table;
  table.headings = {"task",      "kind",    "launch",        "kernel",     "first_node", "segments",
                    "kv_tokens", "queries", "first_request", "head_begin", "head_count", "copies",
                    "slot",      "bound",   "begin_us",      "end_us"};
  const ItemTimes times = item_times(plan, result);
  const auto kernels = scheduler::task_kernels(plan);
  const std::vector<std::int32_t> launches = task_launches(plan);
  for (std::size_t i = 0; i < plan.tasks.size(); ++i) {
    const scheduler::TaskId id(i);
    const scheduler::Task& task = plan.tasks[id];
    std::int64_t tokens = 0;
    for (std::int32_t s = task.segments.begin; s < task.segments.end; ++s) {
      tokens += scheduler::segment_tokens(plan, plan.segments[static_cast<std::size_t>(s)]);
    }
    const bool segments = task.segments.size() > 0, queries = task.queries.size() > 0;
    table.rows.push_back(
        {cell(id.value), std::string(scheduler::kind_name(task.kind)), launches[i] < 0 ? "" : cell(launches[i]),
         kernels[id].valid() ? plan.kernels[kernels[id]].name : "",
         segments ? cell(plan.segments[static_cast<std::size_t>(task.segments.begin)].node.value) : "",
         cell(task.segments.size()), cell(tokens), cell(task.queries.size()),
         queries ? cell(plan.query_rows[static_cast<std::size_t>(task.queries.begin)].value) : "",
         cell(task.head_begin), cell(task.head_count), cell(task.copies),
         task.slot.valid() ? cell(task.slot.value) : "", std::string(sim::bound_name(result.task_bound[i])),
         us_text(times.tasks[i].begin_us), us_text(times.tasks[i].end_us)});
  }
  return table;
}

std::string write_csv(const DataTable& table) {
  std::string out;
  append_line(out, table.headings);
  for (const auto& row : table.rows) append_line(out, row);
  return out;
}

}  // namespace espalier::viz
