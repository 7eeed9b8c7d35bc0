#include "viz/model/task_diff.h"

#include <algorithm>
#include <map>
#include <string>
#include <tuple>

namespace espalier::viz {
namespace {

using scheduler::Plan;
using scheduler::QueueItem;
using scheduler::Task;
using scheduler::TaskId;
using scheduler::TaskKind;

/// All that two tasks doing the same work have in common, as numbers.
using Work = std::vector<std::int64_t>;

/// Segments that touch count as one: emitting a plan again joins them.
void add_tokens(Work& work, const Plan& plan, const Task& task) {
  using Run = std::tuple<std::int32_t, std::int64_t, std::int64_t, std::int32_t, std::int32_t>;  // node, tokens, rows
  std::vector<Run> runs;
  for (std::int32_t s = task.segments.begin; s < task.segments.end; ++s) {
    const scheduler::Segment& segment = plan.segments[static_cast<std::size_t>(s)];
    if (segment.row_begin < segment.row_end) {
      runs.emplace_back(segment.node.value, segment.token_begin, segment_end(plan, segment), segment.row_begin,
                        segment.row_end);
    }
  }
  std::sort(runs.begin(), runs.end());
  for (std::size_t i = 0; i < runs.size();) {
    auto [node, begin, end, row, last_row] = runs[i++];
    while (i < runs.size() && std::get<0>(runs[i]) == node && std::get<1>(runs[i]) == end &&
           std::get<3>(runs[i]) == row && std::get<4>(runs[i]) == last_row) {
      end = std::get<2>(runs[i++]);
    }
    work.insert(work.end(), {node, begin, end, row, last_row});
  }
}

/// Kernels by their names, numbered alike for both plans.
using KernelNumbers = std::map<std::string, std::int64_t>;

std::vector<Work> works_of(const Plan& plan, KernelNumbers& numbers) {
  const auto kernels = task_kernels(plan);
  std::vector<Work> works(plan.tasks.size());
  for (std::size_t t = 0; t < works.size(); ++t) {
    const TaskId id(t);
    const Task& task = plan.tasks[id];
    Work& work = works[t];
    std::int64_t kernel = -1;
    if (kernels[id].valid()) {
      kernel = numbers.emplace(plan.kernels[kernels[id]].name, static_cast<std::int64_t>(numbers.size())).first->second;
    }
    work = {static_cast<std::int64_t>(task.kind),
            kernel,
            task.head_begin,
            task.head_count,
            task.copies,
            task.queries.size()};
    for (std::int32_t q = task.queries.begin; q < task.queries.end; ++q) {
      work.push_back(plan.query_rows[static_cast<std::size_t>(q)].value);
    }
    add_tokens(work, plan, task);
  }
  return works;
}

/// Marks all but a longest rising subsequence of `values`; `at` are the tasks they stand for.
void mark_out_of_order(const std::vector<std::int32_t>& values, const std::vector<std::int32_t>& at,
                       std::vector<TaskChange>& change) {
  std::vector<std::size_t> ends, before(values.size());  // places of the least last value of each length
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto end = std::lower_bound(ends.begin(), ends.end(), values[i],
                                      [&](std::size_t e, std::int32_t v) { return values[e] < v; });
    before[i] = end == ends.begin() ? values.size() : *(end - 1);
    if (end == ends.end()) {
      ends.push_back(i);
    } else {
      *end = i;
    }
  }
  std::vector<char> stays(values.size(), 0);
  for (std::size_t i = ends.empty() ? values.size() : ends.back(); i < values.size(); i = before[i]) stays[i] = 1;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!stays[i]) change[static_cast<std::size_t>(at[i])] = TaskChange::moved;
  }
}

/// Queue of every task copy, and its place in it.
std::map<std::pair<std::int32_t, std::int32_t>, std::pair<std::int32_t, std::int32_t>> queue_places(const Plan& plan) {
  std::map<std::pair<std::int32_t, std::int32_t>, std::pair<std::int32_t, std::int32_t>> places;
  for (std::size_t q = 0; q < plan.queues.size(); ++q) {
    for (std::int32_t i = plan.queues[q].begin; i < plan.queues[q].end; ++i) {
      const QueueItem& item = plan.queue_items[static_cast<std::size_t>(i)];
      places[{item.task.value, item.copy}] = {static_cast<std::int32_t>(q), i};
    }
  }
  return places;
}

void mark_moved_in_queues(const Plan& old_plan, const Plan& new_plan, TaskDiff& diff) {
  const auto old_places = queue_places(old_plan);
  for (std::size_t q = 0; q < new_plan.queues.size(); ++q) {
    std::vector<std::int32_t> values, at;
    for (std::int32_t i = new_plan.queues[q].begin; i < new_plan.queues[q].end; ++i) {
      const QueueItem& item = new_plan.queue_items[static_cast<std::size_t>(i)];
      const std::int32_t partner = diff.partner[item.task.index()];
      if (partner < 0) continue;
      const auto old_place = old_places.find({partner, item.copy});
      if (old_place == old_places.end() || old_place->second.first != static_cast<std::int32_t>(q)) {
        diff.change[item.task.index()] = TaskChange::moved;
      } else {
        values.push_back(old_place->second.second);
        at.push_back(item.task.value);
      }
    }
    mark_out_of_order(values, at, diff.change);
  }
}

}  // namespace

TaskDiff diff_tasks(const Plan& old_plan, const Plan& new_plan) {
  KernelNumbers numbers;
  const std::vector<Work> old_works = works_of(old_plan, numbers), new_works = works_of(new_plan, numbers);
  std::map<Work, std::vector<std::int32_t>> left;  // tasks of the old plan, the first at the back
  for (std::size_t t = old_works.size(); t-- > 0;) left[old_works[t]].push_back(static_cast<std::int32_t>(t));
  TaskDiff diff;
  diff.partner.assign(new_works.size(), -1);
  diff.change.assign(new_works.size(), TaskChange::same);
  std::vector<char> taken(old_works.size(), 0);
  std::vector<std::int32_t> values, at;
  for (std::size_t t = 0; t < new_works.size(); ++t) {
    const bool empty = new_plan.tasks[TaskId(t)].kind == TaskKind::padding;
    const auto same = left.find(new_works[t]);
    if (same == left.end() || same->second.empty()) {
      if (!empty) diff.change[t] = TaskChange::only_here;
      continue;
    }
    const std::int32_t partner = same->second.back();
    same->second.pop_back();
    diff.partner[t] = partner;
    taken[static_cast<std::size_t>(partner)] = 1;
    if (empty) continue;
    values.push_back(partner);
    at.push_back(static_cast<std::int32_t>(t));
  }
  if (new_plan.queues.empty() || old_plan.queues.empty()) {
    mark_out_of_order(values, at, diff.change);
  } else {
    mark_moved_in_queues(old_plan, new_plan, diff);
  }
  for (std::size_t t = 0; t < old_works.size(); ++t) {
    diff.only_old += !taken[t] && old_plan.tasks[TaskId(t)].kind != TaskKind::padding;
  }
  diff.only_new = std::count(diff.change.begin(), diff.change.end(), TaskChange::only_here);
  diff.moved = std::count(diff.change.begin(), diff.change.end(), TaskChange::moved);
  return diff;
}

}  // namespace espalier::viz
