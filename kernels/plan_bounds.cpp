// Matching a plan's launches to captured ones, and the padding between them.
#include "kernels/plan_bounds.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "kernels/plan_refusals.h"

namespace espalier::kernels {
namespace {

using scheduler::Plan;
using scheduler::TaskId;

struct SizeColumn {
  const char* name;
  std::int64_t ColumnSizes::*rows;
};
constexpr std::array<SizeColumn, 18> kSizes = {{
    {"segments", &ColumnSizes::segments},
    {"tasks", &ColumnSizes::tasks},
    {"query rows", &ColumnSizes::query_rows},
    {"folds", &ColumnSizes::fold_slots},
    {"slots", &ColumnSizes::slots},
    {"steps", &ColumnSizes::steps},
    {"reduction inputs", &ColumnSizes::reduction_inputs},
    {"nodes", &ColumnSizes::nodes},
    {"pages", &ColumnSizes::page_ids},
    {"queue items", &ColumnSizes::queue_items},
    {"queues", &ColumnSizes::queues},
    {"items", &ColumnSizes::items},
    {"cluster places", &ColumnSizes::mates},
    {"tasks that arrive", &ColumnSizes::task_arrivals},
    {"steps that arrive", &ColumnSizes::step_arrivals},
    {"arrivals", &ColumnSizes::arrivals},
    {"arrival counters", &ColumnSizes::counters},
    {"bytes of partial rows", &ColumnSizes::partial_bytes},
}};

std::int64_t rows_of(const auto& column) { return static_cast<std::int64_t>(column.size()); }

std::int64_t logical_pages(const traces::PrefixForest& forest) {
  if (!forest.pages.page_ids.empty()) return rows_of(forest.pages.page_ids);
  std::int64_t pages = 0;
  for (const traces::NodeId n : core::ids<traces::NodeId>(forest.node_count())) {
    pages = std::max(pages, 1 + traces::last_page(forest.pages, n, forest.tokens[n]));
  }
  return pages;
}

const char* kernel_name(const LaunchBounds& launch) {
  return launch.attend != nullptr ? launch.attend->name : launch.reduce->name;
}

LaunchBounds launch_bounds(const DeviceLaunch& launch) {
  return {.attend = launch.attend,
          .reduce = launch.reduce,
          .blocks = launch.blocks,
          .cluster = launch.cluster,
          .queued = launch.queue_begin >= 0,
          .arrivals = launch.arrivals,
          .merge_steps = static_cast<std::int32_t>(launch.merge.steps.size()),
          .merge_rows = launch.merge.rows};
}

/// The captured one can run the other, if it is large enough. What merges behind a barrier can also merge nothing.
bool same_kind(const LaunchBounds& captured, const LaunchBounds& launch) {
  return captured.attend == launch.attend && captured.reduce == launch.reduce && captured.cluster == launch.cluster &&
         captured.queued == launch.queued && (captured.merge_rows > 0 || launch.merge_rows == 0) &&
         (captured.arrivals || !launch.arrivals);
}

bool large_enough(const LaunchBounds& captured, const LaunchBounds& launch) {
  return captured.blocks >= launch.blocks && captured.merge_steps >= launch.merge_steps &&
         captured.merge_rows >= launch.merge_rows;
}

/// Kernels count in 32 bits, and launches' items together.
constexpr double kMostRows = std::numeric_limits<std::int32_t>::max() / 64;

double scaled(double n, double factor, double most) {
  const double more = std::ceil(n * factor);
  if (more > most)
    throw core::bad_input("room for a plan", fmt::format("at most {:.0f} of anything", most),
                          fmt::format("{:.4g}", more));
  return more;
}
std::int32_t scaled(std::int32_t n, double factor) {
  return static_cast<std::int32_t>(scaled(static_cast<double>(n), factor, kMostRows));
}

std::int32_t whole_clusters(std::int32_t blocks, std::int32_t cluster) {
  return (blocks + cluster - 1) / cluster * cluster;
}

/// Items and queues follow from the launches; where some merge on arrival, all tasks may.
void count_launch_rows(PlanBounds& bounds) {
  bounds.most.items = bounds.most.queues = bounds.most.mates = 0;
  for (const LaunchBounds& launch : bounds.launches) {
    if (launch.attend == nullptr) continue;
    (launch.queued ? bounds.most.queues : bounds.most.items) += launch.blocks;
  }
  const bool clusters = std::any_of(bounds.launches.begin(), bounds.launches.end(),
                                    [](const LaunchBounds& launch) { return launch.cluster > 1; });
  if (clusters) bounds.most.mates = bounds.most.items;
  if (bounds.most.task_arrivals > 0) bounds.most.task_arrivals = bounds.most.tasks;
}

class Padding {
 public:
  Padding(const Plan& plan, const DevicePlan& lowered, const PlanBounds& bounds)
      : plan_(plan), lowered_(lowered), bounds_(bounds) {}

  DevicePlan run() {
    require_room();
    out_.facts = lowered_.facts;
    out_.facts.emplace_back();
    out_.tasks = plan_.tasks.raw();
    out_.tasks.emplace_back().kind = scheduler::TaskKind::padding;
    out_.arrivals = lowered_.arrivals;
    out_.step_arrivals = lowered_.step_arrivals;
    out_.counters = static_cast<std::int32_t>(bounds_.most.counters);
    // Where captured launches look for arrivals, tasks of a plan without any have none.
    if (bounds_.most.task_arrivals > 0) {
      out_.task_arrivals = lowered_.task_arrivals;
      out_.task_arrivals.resize(out_.tasks.size());
    }
    out_.page_ids = plan_.forest.pages.page_ids;
    for (std::int64_t page = 0; plan_.forest.pages.page_ids.empty() && page < logical_pages(plan_.forest); ++page) {
      out_.page_ids.push_back(page);
    }
    std::size_t next = 0;
    for (const LaunchBounds& captured : bounds_.launches) {
      const bool runs = next < lowered_.launches.size() && fits(captured, launch_bounds(lowered_.launches[next]));
      add(captured, runs ? lowered_.launches[next] : DeviceLaunch{});
      next += runs ? 1 : 0;
    }
    if (next < lowered_.launches.size()) refuse_launch(launch_bounds(lowered_.launches[next]));
    return std::move(out_);
  }

 private:
  static bool fits(const LaunchBounds& captured, const LaunchBounds& launch) {
    return same_kind(captured, launch) && large_enough(captured, launch);
  }

  void require_room() const {
    const ColumnSizes sizes = column_sizes(plan_, lowered_);
    for (const SizeColumn& c : kSizes) {
      // These lie where the captured launches want them; whether they fit is seen there.
      if (c.rows == &ColumnSizes::items || c.rows == &ColumnSizes::queues || c.rows == &ColumnSizes::mates) continue;
      if (sizes.*c.rows > bounds_.most.*c.rows) {
        refuse(fmt::format("{} {}, where there is room for {}", sizes.*c.rows, c.name, bounds_.most.*c.rows));
      }
    }
  }

  [[noreturn]] void refuse_launch(const LaunchBounds& launch) const {
    const auto captured = std::find_if(bounds_.launches.begin(), bounds_.launches.end(),
                                       [&](const LaunchBounds& c) { return same_kind(c, launch); });
    if (captured == bounds_.launches.end()) {
      refuse(fmt::format("a launch of {} that wasn't captured", kernel_name(launch)));
    }
    if (!large_enough(*captured, launch)) {
      refuse(fmt::format("a launch of {} with {} blocks and {} rows to merge, captured with {} and {}",
                         kernel_name(launch), launch.blocks, launch.merge_rows, captured->blocks,
                         captured->merge_rows));
    }
    refuse(fmt::format("a launch of {} later than it was captured", kernel_name(launch)));
  }

  void add(const LaunchBounds& captured, const DeviceLaunch& launch) {
    DeviceLaunch l;
    l.attend = captured.attend;
    l.reduce = captured.reduce;
    l.plan_launch = launch.plan_launch;
    l.blocks = captured.blocks;
    l.cluster = captured.cluster;
    l.arrivals = captured.arrivals;
    if (captured.merge_rows > 0) {
      l.merge = launch.merge;
      l.merge.steps.resize(static_cast<std::size_t>(captured.merge_steps) + 1, {-1, launch.merge.rows});
      l.merge.rows = captured.merge_rows;
    }
    if (captured.queued) {
      l.queue_begin = static_cast<std::int32_t>(out_.queues.size());
      const auto from = plan_.queues.begin() + std::max(launch.queue_begin, 0);
      out_.queues.insert(out_.queues.end(), from, from + launch.blocks);
      out_.queues.resize(static_cast<std::size_t>(l.queue_begin) + static_cast<std::size_t>(captured.blocks));
    } else if (captured.attend != nullptr) {
      add_items(l, launch);
    }
    out_.launches.push_back(std::move(l));
  }

  void add_items(DeviceLaunch& l, const DeviceLaunch& launch) {
    const scheduler::QueueItem nothing = {l.cluster > 1 ? TaskId() : TaskId(plan_.tasks.size()), 0};
    l.items.begin = static_cast<std::int32_t>(out_.items.size());
    l.items.end = l.items.begin + l.blocks;
    const auto end = static_cast<std::size_t>(l.items.end);
    const auto from = lowered_.items.begin() + launch.items.begin;
    out_.items.insert(out_.items.end(), from, from + launch.items.size());
    out_.items.resize(end, nothing);
    if (bounds_.most.mates == 0) return;
    out_.mates.resize(static_cast<std::size_t>(l.items.begin));
    if (launch.cluster > 1) {
      const auto mates = lowered_.mates.begin() + launch.items.begin;
      out_.mates.insert(out_.mates.end(), mates, mates + launch.items.size());
    }
    out_.mates.resize(end);
  }

  const Plan& plan_;
  const DevicePlan& lowered_;
  const PlanBounds& bounds_;
  DevicePlan out_;
};

}  // namespace

ColumnSizes column_sizes(const Plan& plan, const DevicePlan& lowered) {
  ColumnSizes sizes;
  sizes.segments = rows_of(plan.segments);
  sizes.tasks = rows_of(lowered.facts);
  sizes.query_rows = rows_of(plan.query_rows);
  sizes.fold_slots = rows_of(plan.fold_slots);
  sizes.slots = rows_of(plan.slots);
  sizes.steps = rows_of(plan.steps);
  sizes.reduction_inputs = rows_of(plan.reduction_inputs);
  sizes.nodes = rows_of(plan.forest.tokens);
  sizes.page_ids = logical_pages(plan.forest);
  sizes.queue_items = rows_of(plan.queue_items);
  sizes.queues = rows_of(plan.queues);
  sizes.items = rows_of(lowered.items);
  sizes.mates = rows_of(lowered.mates);
  sizes.task_arrivals = rows_of(lowered.task_arrivals);
  sizes.step_arrivals = rows_of(lowered.step_arrivals);
  sizes.arrivals = rows_of(lowered.arrivals);
  sizes.counters = lowered.counters;
  sizes.partial_bytes = plan.workspace_bytes;
  return sizes;
}

PlanBounds bounds_of(const Plan& plan, const DevicePlan& lowered) {
  PlanBounds bounds;
  for (const DeviceLaunch& launch : lowered.launches) bounds.launches.push_back(launch_bounds(launch));
  bounds.most = column_sizes(plan, lowered);
  count_launch_rows(bounds);
  return bounds;
}

PlanBounds both(PlanBounds bounds, const PlanBounds& other) {
  for (const SizeColumn& c : kSizes) bounds.most.*c.rows = std::max(bounds.most.*c.rows, other.most.*c.rows);
  auto at = bounds.launches.begin();
  for (const LaunchBounds& launch : other.launches) {
    const auto same = std::find_if(at, bounds.launches.end(), [&](const LaunchBounds& captured) {
      return same_kind(captured, launch) || same_kind(launch, captured);
    });
    if (same == bounds.launches.end()) {
      at = bounds.launches.insert(at, launch) + 1;
      continue;
    }
    same->blocks = std::max(same->blocks, launch.blocks);
    same->arrivals = same->arrivals || launch.arrivals;
    same->merge_steps = std::max(same->merge_steps, launch.merge_steps);
    same->merge_rows = std::max(same->merge_rows, launch.merge_rows);
    at = same + 1;
  }
  count_launch_rows(bounds);
  return bounds;
}

PlanBounds with_room(PlanBounds bounds, double factor) {
  if (!(factor >= 1) || !std::isfinite(factor)) {
    throw core::bad_input("room for a plan", "a factor of at least 1", fmt::format("{}", factor));
  }
  for (const SizeColumn& c : kSizes) {
    const double most = c.rows == &ColumnSizes::partial_bytes ? 0x1p50 : kMostRows;
    bounds.most.*c.rows = static_cast<std::int64_t>(scaled(static_cast<double>(bounds.most.*c.rows), factor, most));
  }
  for (LaunchBounds& launch : bounds.launches) {
    if (!launch.queued) launch.blocks = whole_clusters(scaled(launch.blocks, factor), launch.cluster);
    launch.merge_steps = scaled(launch.merge_steps, factor);
    launch.merge_rows = scaled(launch.merge_rows, factor);
  }
  count_launch_rows(bounds);
  return bounds;
}

DevicePlan padded(const Plan& plan, const DevicePlan& lowered, const PlanBounds& bounds) {
  return Padding(plan, lowered, bounds).run();
}

}  // namespace espalier::kernels
