#include "viz/model/colouring.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "core/error.h"
#include "viz/model/time_split.h"

namespace espalier::viz {
namespace {

using scheduler::Plan;
using scheduler::Task;
using scheduler::TaskId;

/// Of Okabe and Ito's, those that merges don't take.
constexpr Paint kCategories[] = {Paint::hbm, Paint::compute, Paint::latency, Paint::l2, Paint::tail};
constexpr auto kCategoryCount = static_cast<std::int32_t>(std::size(kCategories));
constexpr Paint kSeveral = Paint::step0;
constexpr Paint kUnchanged = Paint::step1, kMoved = Paint::compute, kChanged = Paint::tail;

Paint category(std::int32_t i) { return kCategories[i % kCategoryCount]; }
/// The last one stands for all that come after.
Paint ranked_category(std::int32_t i) { return kCategories[std::min(i, kCategoryCount - 1)]; }

std::vector<std::int32_t> node_depths(const traces::PrefixForest& forest) {
  std::vector<std::int32_t> depths(forest.node_count());
  for (std::size_t i = 0; i < depths.size(); ++i) {  // parents come first
    const traces::NodeId n(i);
    if (!forest.is_root(n)) depths[i] = depths[forest.parent[n].index()] + 1;
  }
  return depths;
}

const scheduler::Segment& segment(const Plan& plan, std::int32_t s) {
  return plan.segments[static_cast<std::size_t>(s)];
}

std::int32_t deepest(const Plan& plan, const Task& task, const std::vector<std::int32_t>& depths) {
  std::int32_t depth = 0;
  for (std::int32_t s = task.segments.begin; s < task.segments.end; ++s) {
    depth = std::max(depth, depths[segment(plan, s).node.index()]);
  }
  return depth;
}

Paint node_paint(const Plan& plan, const Task& task) {
  for (std::int32_t s = task.segments.begin + 1; s < task.segments.end; ++s) {
    if (segment(plan, s).node != segment(plan, task.segments.begin).node) return kSeveral;
  }
  return task.segments.size() == 0 ? kSeveral : category(segment(plan, task.segments.begin).node.value);
}

Paint request_paint(const Plan& plan, const Task& task) {
  return task.queries.size() == 1 ? category(plan.query_rows[static_cast<std::size_t>(task.queries.begin)].value)
                                  : kSeveral;
}

/// 0 up to what is there, as steps; the last step is "and deeper".
std::vector<LegendEntry> depth_legend(const std::vector<std::int32_t>& depths) {
  const std::int32_t most = depths.empty() ? 0 : *std::max_element(depths.begin(), depths.end());
  std::vector<LegendEntry> entries;
  for (std::int32_t d = 0; d <= std::min(most, kSteps - 1); ++d) {
    entries.push_back({step_paint(d), d == 0                        ? "root"
                                      : d == kSteps - 1 && most > d ? fmt::format("{} and deeper", d)
                                                                    : std::to_string(d)});
  }
  return entries;
}

std::vector<LegendEntry> kernel_legend(const Plan& plan) {
  std::vector<LegendEntry> entries;
  for (std::size_t k = 0; k < plan.kernels.size(); ++k) {
    const costmodel::KernelConfig& kernel = plan.kernels[scheduler::KernelId(k)];
    if (kernel.role == costmodel::KernelRole::reduce) continue;
    const bool last = static_cast<std::int32_t>(k) >= kCategoryCount - 1;
    entries.push_back({ranked_category(static_cast<std::int32_t>(k)), last ? std::string("others") : kernel.name});
    if (last) break;
  }
  return entries;
}

std::vector<LegendEntry> turns_legend(const char* noun, std::size_t count) {
  std::vector<LegendEntry> entries = {{kSeveral, fmt::format("several {}s", noun)}};
  for (std::int32_t i = 0; i < std::min(kCategoryCount, static_cast<std::int32_t>(count)); ++i) {
    const bool more = count > static_cast<std::size_t>(i + kCategoryCount);
    entries.push_back({category(i), more ? fmt::format("{}, {}, …", i, i + kCategoryCount) : std::to_string(i)});
  }
  return entries;
}

std::vector<LegendEntry> bound_legend(const sim::SimResult& result) {
  std::array<bool, sim::kBounds> used{};
  for (const sim::Bound bound : result.task_bound) used[static_cast<std::size_t>(bound)] = true;
  std::vector<LegendEntry> entries;
  for (std::size_t b = 0; b < used.size(); ++b) {
    const auto bound = static_cast<sim::Bound>(b);
    if (used[b]) entries.push_back({bound_paint(bound), std::string(sim::bound_name(bound))});
  }
  return entries;
}

std::vector<LegendEntry> main_legend(const Plan& plan, const sim::SimResult& result, ColourBy colour_by) {
  switch (colour_by) {
    case ColourBy::queries: {
      std::int64_t most = 1;
      for (const Task& task : plan.tasks) most = std::max<std::int64_t>(most, task.queries.size());
      return queries_legend(most);
    }
    case ColourBy::bound:
      return bound_legend(result);
    case ColourBy::kernel:
      return kernel_legend(plan);
    case ColourBy::depth:
      return depth_legend(node_depths(plan.forest));
    case ColourBy::node:
      return turns_legend("node", plan.forest.node_count());
    case ColourBy::request:
      return turns_legend("request", plan.forest.request_count());
    case ColourBy::edits:
      return {{kUnchanged, "as planned"}, {kMoved, "moved"}, {kChanged, "changed"}};
  }
  return {};
}

}  // namespace

std::string_view colour_by_name(ColourBy colour_by) {
  static constexpr std::string_view kNames[kColourings] = {"queries", "bound",   "kernel", "depth",
                                                           "node",    "request", "edits"};
  return kNames[static_cast<std::size_t>(colour_by)];
}

std::vector<Paint> task_paints(const Plan& plan, const sim::SimResult& result, ColourBy colour_by) {
  std::vector<Paint> paints;
  paints.reserve(plan.tasks.size());
  const std::vector<std::int32_t> depths =
      colour_by == ColourBy::depth ? node_depths(plan.forest) : std::vector<std::int32_t>();
  const auto kernels =
      colour_by == ColourBy::kernel ? scheduler::task_kernels(plan) : core::Column<TaskId, scheduler::KernelId>();
  for (std::size_t t = 0; t < plan.tasks.size(); ++t) {
    const Task& task = plan.tasks[TaskId(t)];
    if (task.kind == scheduler::TaskKind::padding) {
      paints.push_back(Paint::fixed);
      continue;
    }
    switch (colour_by) {
      case ColourBy::queries:
        paints.push_back(paint_of_queries(task.queries.size()));
        break;
      case ColourBy::bound:
        paints.push_back(bound_paint(result.task_bound[t]));
        break;
      case ColourBy::kernel:
        paints.push_back(ranked_category(std::max(0, kernels[TaskId(t)].value)));
        break;
      case ColourBy::depth:
        paints.push_back(step_paint(deepest(plan, task, depths)));
        break;
      case ColourBy::node:
        paints.push_back(node_paint(plan, task));
        break;
      case ColourBy::request:
        paints.push_back(request_paint(plan, task));
        break;
      case ColourBy::edits:
        paints.push_back(kUnchanged);
        break;
    }
  }
  return paints;
}

std::vector<Paint> edit_paints(const TaskDiff& diff) {
  std::vector<Paint> paints;
  for (const TaskChange change : diff.change) {
    paints.push_back(change == TaskChange::same ? kUnchanged : change == TaskChange::moved ? kMoved : kChanged);
  }
  return paints;
}

std::vector<LegendEntry> colour_legend(const Plan& plan, const sim::SimResult& result, ColourBy colour_by) {
  std::vector<LegendEntry> entries = main_legend(plan, result, colour_by);
  const bool padding = std::any_of(plan.tasks.begin(), plan.tasks.end(),
                                   [](const Task& t) { return t.kind == scheduler::TaskKind::padding; });
  if (plan.steps.size() > 0) entries.push_back({Paint::merge, "merge"});
  if (padding && colour_by != ColourBy::bound) entries.push_back({Paint::fixed, "empty CTA"});
  const bool gaps =
      std::any_of(result.timeline.spans.begin(), result.timeline.spans.end(), [](const scheduler::Span& s) {
        return s.kind == scheduler::SpanKind::launch_gap || s.kind == scheduler::SpanKind::barrier;
      });
  if (gaps) entries.push_back({Paint::few, "launch gap, barrier"});
  return entries;
}

}  // namespace espalier::viz
